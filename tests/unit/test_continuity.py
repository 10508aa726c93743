"""Identity switches with answers known by hand."""

from __future__ import annotations

from idol_core.evaluation.id_switches import Continuity, identity_switches
from tests.unit.vis_sets import box, result, truth

LEFT, RIGHT = box(0, 0, 4, 4), box(8, 0, 4, 4)


def _held(annotations, results, **options):
    content = truth([(*annotation, {}) for annotation in annotations], **options)
    return identity_switches(content, results)[1]


def test_tracks_that_keep_their_objects_have_no_switches():
    annotations = [(1, 4, [LEFT, LEFT, None]), (1, 4, [RIGHT] * 3)]
    results = [result(1, 4, 0.9, [LEFT, LEFT, None]), result(1, 4, 0.8, [RIGHT] * 3)]
    assert _held(annotations, results) == Continuity(switches=0, covered=5, visible=5)


def test_a_swap_is_a_switch_of_both_objects():
    annotations = [(1, 4, [LEFT] * 3), (1, 4, [RIGHT] * 3)]
    results = [result(1, 4, 0.9, [LEFT, RIGHT, RIGHT]), result(1, 4, 0.8, [RIGHT, LEFT, LEFT])]
    assert _held(annotations, results) == Continuity(2, 6, 6)


def test_a_gap_alone_is_no_switch_but_another_track_after_it_is():
    annotations = [(1, 4, [LEFT] * 3)]
    assert _held(annotations, [result(1, 4, 0.9, [LEFT, None, LEFT])]) == Continuity(0, 2, 3)
    two = [result(1, 4, 0.9, [LEFT, None, None]), result(1, 4, 0.9, [None, None, LEFT])]
    assert _held(annotations, two) == Continuity(1, 2, 3)


def test_an_object_keeps_its_track_though_another_fits_better():
    close = box(0, 0, 4, 3)
    results = [result(1, 4, 0.9, [LEFT, close, close]), result(1, 4, 0.9, [None, LEFT, LEFT])]
    assert _held([(1, 4, [LEFT] * 3)], results) == Continuity(0, 3, 3)


def test_classes_do_not_matter_and_weak_tracks_are_left_out():
    annotations = [(1, 4, [LEFT] * 3)]
    both = [result(1, 4, 0.9, [LEFT] * 3), result(1, 9, 0.5, [LEFT] * 3)]
    assert _held(annotations, both) == Continuity(0, 3, 3)
    assert _held(annotations, [result(1, 4, 0.19, [LEFT] * 3)]) == Continuity(0, 0, 3)
    assert _held(annotations, [result(1, 4, 0.9, [RIGHT] * 3)]) == Continuity(0, 0, 3)
