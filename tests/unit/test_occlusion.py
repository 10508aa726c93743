"""OVIS' occlusion groups on a case worked out by hand."""

import math

import pytest

from idol_core.errors import Integrity, Missing
from idol_core.evaluation.occlusion import occlusion, occlusion_scores
from idol_core.evaluation.overlaps import compare
from idol_core.evaluation.ytvis_files import Truth
from tests.unit.vis_sets import box, result, truth

NO, SLIGHT, SEVERE = "no_occlusion", "slight_occlusion", "severe_occlusion"
A, B, C = box(0, 0, 8, 8), box(10, 0, 8, 8), box(20, 0, 8, 8)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([NO, NO, NO], 0),
        ([SEVERE, None, NO, None], 0.75),  # of two, the larger
        ([SEVERE, SLIGHT, NO], 0.5),  # of three, the two largest
        ([SLIGHT, SLIGHT, SEVERE, NO, None], 0.5),
        ([SLIGHT], 0.25),
    ],
)
def test_the_occlusion_of_an_object_follows_from_its_levels(levels, expected):
    assert occlusion(Truth([], 0.0, False, tuple(levels))) == expected


def test_an_object_without_levels_belongs_nowhere():
    assert math.isnan(occlusion(Truth([], 0.0, False, (None, None))))


def test_groups():
    """One object in `slight` alone, one on the border of `slight` and `moderate`, one in `heavy` alone that is missed.

    The wrong track outranks all and counts against every group; a track of another group's object counts in none.
    """
    annotations = [
        (1, 4, [A] * 3, {"occlusion": [NO, NO, NO]}),
        (1, 4, [B] * 3, {"occlusion": [SLIGHT, SLIGHT, NO]}),
        (1, 4, [C] * 3, {"occlusion": [SEVERE, SEVERE, NO]}),
    ]
    wrong = [box(0, 12, 8, 8)] * 3
    results = [result(1, 4, 0.9, wrong), result(1, 4, 0.8, [A] * 3), result(1, 4, 0.7, [B] * 3)]
    scores = occlusion_scores(compare(truth(annotations), results))
    # slight: wrong, right, right of two objects: best precision 2/3 at every recall
    assert scores["slight"]["AP"] == pytest.approx(2 / 3)
    # moderate: wrong, (ignored), right of one object
    assert scores["moderate"]["AP"] == pytest.approx(1 / 2)
    assert scores["heavy"]["AP"] == 0
    assert scores["slight"]["AR100"] == 1
    assert scores["heavy"]["AR100"] == 0


def test_sets_without_valid_occlusion_levels_are_refused():
    with pytest.raises(Missing, match="occlusion"):
        occlusion_scores(compare(truth([(1, 4, [A] * 3, {})]), []))
    with pytest.raises(Integrity, match="level 'a lot'") as caught:
        occlusion_scores(compare(truth([(1, 4, [A] * 3, {"occlusion": ["a lot", None, None]})]), []), where="a.json")
    assert caught.value.where == "a.json: field occlusion"
