"""Stratified splits: in proportion, deterministic, complete."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from idol_core.data.stratify import stratify

_SETS = st.dictionaries(st.integers(0, 500), st.frozensets(st.integers(0, 6), max_size=4), min_size=2, max_size=60)


@given(_SETS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_both_sides_are_there_and_order_does_not_matter(classes, fraction, seed):
    val = stratify(classes, val_fraction=fraction, seed=seed)
    assert 0 < len(val) < len(classes)
    assert val < set(classes)
    shuffled = list(classes.items())
    random.Random(seed).shuffle(shuffled)
    assert stratify(dict(shuffled), val_fraction=fraction, seed=seed) == val


def test_every_class_in_proportion():
    rng = random.Random(3)
    classes = {v: {c for c in range(10) if rng.random() < (c + 1) / 20} for v in range(400)}
    val = stratify(classes, val_fraction=0.25, seed=1)
    assert abs(len(val) - 100) <= 10
    for c in range(10):
        total = sum(c in found for found in classes.values())
        here = sum(c in classes[v] for v in val)
        assert abs(here - total / 4) <= max(2, 0.1 * total / 4), c
    assert stratify(classes, val_fraction=0.25, seed=2) != val


def test_a_class_of_two_videos_is_on_one_side_only_if_it_must():
    classes = {v: {0} for v in range(8)} | {8: {1}, 9: {1}}
    assert len({8, 9} & stratify(classes, val_fraction=0.5, seed=0)) == 1


@given(_SETS, st.floats(0.05, 0.95), st.integers(0, 5), st.integers(2, 9))
def test_groups_stay_together(classes, fraction, seed, number):
    groups = {v: v % number for v in classes}
    val = stratify(classes, val_fraction=fraction, seed=seed, groups=groups)
    assert not {groups[v] for v in val} & {groups[v] for v in set(classes) - val}
    if len(set(groups.values())) > 1:
        assert 0 < len(val) < len(classes)


@given(_SETS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_groups_of_one_change_nothing(classes, fraction, seed):
    alone = stratify(classes, val_fraction=fraction, seed=seed, groups={v: v for v in classes})
    assert alone == stratify(classes, val_fraction=fraction, seed=seed)


def test_groups_of_different_size_come_near_the_fraction():
    groups = {v: min(v // 10, 12) for v in range(200)}  # twelve of 10, one of 80
    val = stratify({v: {0} for v in groups}, val_fraction=0.25, seed=0, groups=groups)
    assert len(val) == 50
