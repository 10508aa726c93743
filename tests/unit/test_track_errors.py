"""Errors of tracks: put in one kind at a time, they move the figures of that kind alone; mended all, AP is 100."""

from __future__ import annotations

import pytest

from idol_core.evaluation.scenes import read_scenes
from idol_core.evaluation.track_errors import evaluate_track_errors, match_scenes, track_errors
from idol_core.evaluation.video_ap import evaluate_vis
from tests.unit.broken_sets import BREAKERS, Perfect, masks
from tests.unit.random_sets import random_set
from tests.unit.vis_sets import box, result, truth

LEFT, RIGHT, FAR = box(0, 0, 8, 8), box(16, 0, 8, 8), box(0, 12, 6, 6)
(BOTH,) = masks([[(0, 0, 8, 8), (16, 0, 8, 8)]])
ONLY_LEFT = [LEFT] * 4
TWO = [(1, 4, ONLY_LEFT, {}), (1, 9, [RIGHT] * 4, {})]
PERFECT = [result(1, 4, 0.9, ONLY_LEFT), result(1, 9, 0.8, [RIGHT] * 4)]


def table(results, objects=TWO):
    return evaluate_track_errors(truth(objects, videos=((1, 4),)), results)


def errors(results, objects=TWO):
    """The errors as (kind, place in the file, object, frames)."""
    scenes = read_scenes(truth(objects, videos=((1, 4),)), results)
    return [(e.kind, e.place, e.truth, e.frames) for e in track_errors(match_scenes(scenes))]


def counts(found):
    return {name: kind.count for name, kind in found.kinds.items() if kind.count}


def test_perfect_results_have_no_errors():
    found = table(PERFECT)
    assert found.ap == found.ap50 == found.all.ap == pytest.approx(100)
    assert counts(found) == {}
    assert errors(PERFECT) == []


@pytest.mark.parametrize("kind", BREAKERS)
@pytest.mark.parametrize("seed", range(6))
def test_errors_of_one_kind_move_that_kind_only(kind, seed):
    data = Perfect(seed)
    for _ in range(1 if kind in ("switch", "merge") else 3):
        BREAKERS[kind](data)
    found = evaluate_track_errors(*data.files())
    assert (found.kinds[kind].ap, found.all.ap, found.all.ap50) == pytest.approx((100, 100, 100))
    for name, mended in found.kinds.items():
        if name != kind:
            assert mended.count == 0
            assert (mended.ap, mended.ap50) == (found.ap, found.ap50)
    assert found.kinds[kind].count > 0 or kind == "switch"  # after an early switch, tracks are right in most frames
    assert found.ap < 100 or kind == "duplicate"  # one that scores below all objects costs nothing


@pytest.mark.parametrize("seed", range(10))
def test_on_any_results_ap_is_that_of_the_evaluation_and_mending_all_gives_a_hundred(seed):
    content, results = random_set(seed)
    found, scores = evaluate_track_errors(content, results), evaluate_vis(content, results)
    assert found.ap == pytest.approx(100 * scores.stats["AP"], abs=1e-9)
    assert found.ap50 == pytest.approx(100 * scores.stats["AP50"], abs=1e-9)
    assert (found.all.ap, found.all.ap50) == pytest.approx((100, 100))
    assert all(kind.ap >= found.ap - 1e-9 for kind in found.kinds.values())


def test_two_tracks_exchange_their_objects():
    results = [result(1, 4, 0.9, [LEFT] * 2 + [RIGHT] * 2), result(1, 9, 0.8, [RIGHT] * 2 + [LEFT] * 2)]
    assert counts(table(results)) == {"switch": 2}
    assert errors(results) == [("switch", 0, 0, (2, 3)), ("switch", 1, 1, (2, 3))]


def test_the_track_that_leaves_one_object_for_another_ends_the_others_track():
    """Nobody has the first object after that, and the second one's own track is cut short."""
    results = [result(1, 4, 0.9, [LEFT, RIGHT, RIGHT, RIGHT]), result(1, 9, 0.8, [RIGHT, None, None, None])]
    assert counts(table(results, [(1, 4, [LEFT, None, None, None], {}), TWO[1]])) == {"switch": 2}


def test_a_track_in_three_pieces():
    pieces = [[LEFT, None, None, None], [None, LEFT, None, None], [None, None, LEFT, LEFT]]
    results = [result(1, 4, s, p) for s, p in zip((0.9, 0.7, 0.5), pieces, strict=True)]
    assert errors([*results, PERFECT[1]]) == [("fragment", 0, 0, (1, 2, 3)), ("fragment", 1, 0, (0, 2, 3))]


def test_two_halves_of_a_track_are_fragments_though_each_is_right_by_itself():
    halves = [result(1, 4, 0.9, [LEFT, LEFT, None, None]), result(1, 4, 0.8, [None, None, LEFT, LEFT])]
    assert errors([*halves, PERFECT[1]]) == [("fragment", 1, 0, (0, 1))]


def test_pieces_of_the_wrong_class_leave_the_object_missed():
    pieces = [result(1, 9, 0.9, [LEFT if t == piece else None for t in range(4)]) for piece in range(4)]
    assert counts(table([*pieces, PERFECT[1]])) == {"both": 4, "missed": 1}


def test_two_tracks_of_a_class_that_exchange_their_objects_both_come_right():
    """Each overlaps both objects alike."""
    objects = [(1, 4, ONLY_LEFT, {}), (1, 4, [RIGHT] * 4, {})]
    results = [result(1, 4, 0.9, [LEFT] * 2 + [RIGHT] * 2), result(1, 4, 0.8, [RIGHT] * 2 + [LEFT] * 2)]
    assert [(kind, truth) for kind, _, truth, _ in errors(results, objects)] == [("switch", 0), ("switch", 1)]


def test_what_is_left_of_a_track_whose_object_another_mask_swallowed():
    results = [result(1, 4, 0.9, [LEFT, BOTH, BOTH, BOTH]), result(1, 9, 0.8, [RIGHT, None, None, None])]
    assert errors(results) == [("merge", 1, 1, (1, 2, 3))]


def test_two_objects_in_one_mask():
    found = table([result(1, 4, 0.9, [BOTH] * 4)])
    assert counts(found) == {"merge": 1}  # of the two, half of what it covers is right at .5: the other one is lost
    assert found.ap50 == pytest.approx(50)
    assert found.kinds["merge"].ap == pytest.approx(100)
    assert errors([result(1, 4, 0.9, [BOTH] * 4)]) == [("merge", 0, 1, (0, 1, 2, 3))]


def test_an_object_touched_in_passing_makes_no_merge():
    pieces = [result(1, 4, 0.9, [None, BOTH, LEFT, LEFT]), result(1, 4, 0.7, [LEFT, None, None, None])]
    assert errors([*pieces, PERFECT[1]]) == [("fragment", 1, 0, (1, 2, 3))]
    assert errors([result(1, 4, 0.9, [LEFT, BOTH, LEFT, LEFT])]) == [("missed", None, 1, (0, 1, 2, 3))]


def test_a_track_that_strays_to_an_object_which_has_one_keeps_its_own_error():
    strays = result(1, 4, 0.5, [RIGHT, RIGHT, RIGHT, LEFT])  # mostly on the object of the other class
    results = [result(1, 4, 0.9, [LEFT, LEFT, LEFT, None]), PERFECT[1], strays]
    assert errors(results) == [("class", 2, 1, (0, 1, 2, 3))]


def test_two_objects_one_after_the_other_in_one_track():
    objects = [(1, 4, [LEFT, None, None, None], {}), (1, 9, [None, RIGHT, RIGHT, RIGHT], {})]
    results = [result(1, 9, 0.9, [LEFT, RIGHT, RIGHT, RIGHT])]
    assert errors(results, objects) == [("merge", 0, 0, (1, 2, 3))]


def test_an_extra_track_is_a_duplicate_or_background():
    extra = [result(1, 4, 0.5, ONLY_LEFT), result(1, 4, 0.4, [None, FAR, FAR, None])]
    assert errors([*PERFECT, *extra]) == [("duplicate", 2, 0, (0, 1, 2, 3)), ("background", 3, None, (1, 2))]


def test_a_short_track_of_an_object_that_has_a_whole_one_is_no_fragment():
    assert errors([*PERFECT, result(1, 4, 0.5, [LEFT, None, None, None])]) == [("mask", 2, 0, (1, 2, 3))]


def test_wrong_class_poor_mask_and_nothing():
    narrow = box(0, 0, 3, 8)
    assert errors([result(1, 9, 0.9, ONLY_LEFT), PERFECT[1]]) == [("class", 0, 0, (0, 1, 2, 3))]
    assert errors([result(1, 4, 0.9, [narrow] * 3 + [None]), PERFECT[1]]) == [("mask", 0, 0, (0, 1, 2, 3))]
    assert errors([result(1, 9, 0.9, [narrow] * 4), PERFECT[1]]) == [
        ("both", 0, 0, (0, 1, 2, 3)),
        ("missed", None, 0, (0, 1, 2, 3)),
    ]
    assert errors(PERFECT[1:]) == [("missed", None, 0, (0, 1, 2, 3))]


def test_what_mending_a_kind_gives_by_hand():
    """A false track goes before a right one, and a second object is missed: precision 1/2 up to recall 1/2."""
    objects = [(1, 4, ONLY_LEFT, {}), (1, 4, [RIGHT] * 4, {})]
    found = table([result(1, 4, 0.9, [FAR] * 4), result(1, 4, 0.8, ONLY_LEFT)], objects)
    assert counts(found) == {"background": 1, "missed": 1}
    assert found.ap == pytest.approx(100 * 0.5 * 51 / 101)
    assert found.kinds["background"].ap == pytest.approx(100 * 51 / 101)
    assert found.kinds["missed"].ap == pytest.approx(50)
    assert found.all.ap == pytest.approx(100)


def test_crowds_are_neither_lost_nor_found():
    objects = [TWO[0], (1, 9, [RIGHT] * 4, {"iscrowd": 1})]
    assert counts(table(PERFECT, objects)) == counts(table(PERFECT[:1], objects)) == {}


def test_without_any_objects_there_is_no_ap():
    found = table(PERFECT, [])
    assert found.ap is found.all.ap50 is None
    assert counts(found) == {"background": 2}
