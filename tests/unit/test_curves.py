"""Confusion, calibration and precision-recall curves: those of small sets by hand, and AP as the mean of the curves."""

from __future__ import annotations

import numpy as np
import pytest

from idol_core.evaluation.curves import calibration, calibration_error, confusion, pr_curves, scored_results
from idol_core.evaluation.image_errors import match_images
from idol_core.evaluation.scenes import read_scenes
from idol_core.evaluation.track_errors import match_scenes
from idol_core.evaluation.video_ap import evaluate_vis
from tests.unit.image_sets import random_images
from tests.unit.random_sets import random_set
from tests.unit.vis_sets import box, result, truth

LEFT, RIGHT, FAR = box(0, 0, 8, 8), box(16, 0, 8, 8), box(0, 12, 6, 6)
OBJECTS = [(1, 4, [LEFT] * 2, {}), (1, 4, [RIGHT] * 2, {}), (1, 9, [FAR] * 2, {})]


def matched(results, objects=OBJECTS):
    scenes = read_scenes(truth(objects, videos=((1, 2),)), results)
    return [one.matching for one in match_scenes(scenes)]


def test_which_classes_are_taken_for_which():
    results = [
        result(1, 9, 0.9, [LEFT] * 2),  # an object of the other class
        result(1, 4, 0.8, [LEFT] * 2),  # the same track under its own class: not counted
        result(1, 4, 0.7, [RIGHT] * 2),
        result(1, 4, 0.6, [box(24, 12, 4, 4)] * 2),  # no object
        result(1, 9, 0.1, [FAR] * 2),  # too low a score
    ]
    found = confusion(matched(results), (9, 4), min_score=0.2)
    assert found.categories == [4, 9]
    assert found.matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    crowds = [*OBJECTS[:2], (1, 9, [FAR] * 2, {"iscrowd": 1})]
    assert confusion(matched(results, crowds), (4, 9)).matrix.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_scores_of_right_and_wrong_tracks():
    results = [result(1, 4, 0.95, [LEFT] * 2), result(1, 4, 0.15, [RIGHT] * 2), result(1, 4, 0.2, [FAR] * 2)]
    found = scored_results(matched(results))
    assert found.scores.tolist() == [0.95, 0.2, 0.15]
    assert found.right.tolist() == [True, False, True]
    rows = calibration(found, bins=5)
    assert [row.results for row in rows] == [2, 0, 0, 0, 1]
    assert (rows[0].score, rows[0].right) == pytest.approx((0.175, 0.5))
    assert (rows[1].score, rows[1].right) == pytest.approx((0.3, 0))
    assert calibration_error(rows) == pytest.approx((2 * 0.325 + 0.05) / 3)


@pytest.mark.parametrize("seed", range(4))
def test_ap_is_the_mean_of_the_curves(seed):
    content, results = random_set(seed)
    matchings = [one.matching for one in match_scenes(read_scenes(content, results))]
    curves = pr_curves(matchings, [category["id"] for category in content["categories"]])
    scores = evaluate_vis(content, results)
    for curve in curves:
        figures = scores.per_category[curve.category]
        assert np.mean(list(curve.precision.values())) == pytest.approx(figures["AP"])
        assert curve.precision[75].mean() == pytest.approx(figures["AP75"])
    assert len(curves) == sum(figures["AP"] > -1 for figures in scores.per_category.values())


def test_images_have_them_too_and_nothing_gives_nothing():
    content, results = random_images(0)
    matchings = [one.matching for one in match_images(content, results)]
    assert len(pr_curves(matchings, (1, 3, 7))) == 3
    objects = sum(not a["iscrowd"] for a in content["annotations"])
    assert confusion(matchings, (1, 3, 7)).matrix[:-1].sum() == objects
    assert pr_curves([], (4,)) == []
    assert calibration_error(calibration(scored_results([]))) == 0
