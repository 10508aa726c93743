"""Video AP of small sets with known answers, and what is refused instead of being scored as zero."""

import json
import math

import pytest

from idol_core.errors import Integrity, Missing
from idol_core.evaluation.video_ap import evaluate_vis
from tests.unit.vis_sets import HEIGHT, WIDTH, box, result, truth

A, B = box(2, 2, 10, 10), box(14, 4, 8, 8)


def two_objects():
    return truth([(1, 4, [A, A, None], {}), (1, 9, [None, B, B], {})])


def perfect():
    return [result(1, 4, 0.9, [A, A, None]), result(1, 9, 0.8, [None, B, B])]


def test_perfect_results_score_one():
    scores = evaluate_vis(two_objects(), perfect())
    for name in ("AP", "AP50", "AP75", "APs", "AR1", "AR10", "AR100"):
        assert scores.stats[name] == pytest.approx(1)
    assert scores.stats["APm"] == scores.stats["APl"] == -1
    assert [scores.per_category[c]["AP"] for c in (4, 9)] == pytest.approx([1, 1])
    assert scores.category_names == {4: "class 4", 9: "class 9"}


def test_no_results_score_zero():
    assert evaluate_vis(two_objects(), []).stats["AP"] == 0


def test_half_a_track_counts_half():
    """Overlap .5: found at the lowest of the ten thresholds only."""
    scores = evaluate_vis(truth([(1, 4, [A, A, None], {})]), [result(1, 4, 0.9, [A, None, None])])
    assert scores.stats["AP50"] == pytest.approx(1)
    assert scores.stats["AP"] == pytest.approx(0.1)


def test_better_scored_wrong_track_halves_precision():
    scores = evaluate_vis(truth([(1, 4, [A, A, A], {})]), [result(1, 4, 0.9, [B] * 3), result(1, 4, 0.8, [A] * 3)])
    assert scores.stats["AP"] == pytest.approx(0.5)
    assert scores.stats["AR1"] == 0
    assert scores.stats["AR10"] == 1


def test_of_equal_overlaps_the_later_object_is_taken():
    """The better result overlaps both objects alike; the other only the first: both are right if it is left free."""
    first, both, second = (box(x, 2, 12, 10) for x in (2, 5, 8))
    objects = truth([(1, 4, [m] * 3, {}) for m in (first, second)])
    results = [result(1, 4, 0.9, [both] * 3), result(1, 4, 0.8, [first] * 3)]
    assert evaluate_vis(objects, results).stats["AP50"] == pytest.approx(1)
    assert evaluate_vis(objects, [results[0], result(1, 4, 0.8, [second] * 3)]).stats["AP50"] < 0.6


def test_every_form_of_mask():
    polygon = [[2, 2, 12, 2, 12, 12, 2, 12]]
    runs = [2 * HEIGHT + 2, *[10, HEIGHT - 10] * 9, 10, HEIGHT * (WIDTH - 12) + HEIGHT - 12]
    plain = {"size": [HEIGHT, WIDTH], "counts": runs}
    scores = evaluate_vis(truth([(1, 4, [polygon, plain, A], {})]), [result(1, 4, 0.5, [A, A, plain])])
    assert scores.stats["AP"] == pytest.approx(1)


def test_scores_of_chosen_videos():
    content = truth([(1, 4, [A] * 3, {}), (2, 4, [B], {})], videos=((1, 3), (2, 1)))
    results = [result(1, 4, 0.9, [A] * 3), result(2, 4, 0.9, [A])]
    assert evaluate_vis(content, results, videos=[1]).stats["AP"] == pytest.approx(1)
    assert evaluate_vis(content, results, videos=[2]).stats["AP"] == 0


def test_areas_come_from_the_file_and_else_from_the_masks():
    for areas, name in (([None] * 3, "APs"), ([200**2] * 3, "APm"), ([300**2, None, None], "APl")):
        scores = evaluate_vis(truth([(1, 4, [A] * 3, {"areas": areas})]), [result(1, 4, 0.9, [A] * 3)])
        assert {n for n in ("APs", "APm", "APl") if scores.stats[n] > 0.99} == {name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"video_id": 77}, r"unknown videos: 2 .*result 1, video_id 77; known ids: 1\.\.1"),
        ({"category_id": 0}, r"unknown categories: 2 .*category_id 0; known ids: 4\.\.9"),
        ({"segmentations": [A, A]}, r"wrong number of frames: 2 .*2 segmentations for 3 frames"),
        ({"segmentations": None}, "wrong number of frames"),
        ({"segmentations": [box(2, 2, 5, 5, size=(12, 16)), None, None]}, r"malformed masks: 2 .*\[12, 16\]"),
        ({"segmentations": [{**A, "counts": A["counts"][:-1]}, None, None]}, "malformed masks"),
        ({"segmentations": [{"size": A["size"], "counts": [5, 5]}, None, None]}, "malformed masks"),
        ({"segmentations": ["nonsense", None, None]}, "malformed masks"),
        ({"score": math.nan}, "score is not a finite number"),
        ({"score": "high"}, "score is not a finite number"),
    ],
)
def test_results_that_do_not_fit_are_refused_and_never_scored_as_zero(change, said, tmp_path):
    good = result(1, 4, 0.9, [A, A, None])
    with pytest.raises(Integrity, match=said) as caught:
        evaluate_vis(two_objects(), [good, good | change, good | change])
    assert caught.value.exit_code == 4
    path = tmp_path / "results.json"
    path.write_text(json.dumps([good, good | change, good | change]))
    with pytest.raises(Integrity):
        evaluate_vis(two_objects(), path)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ((7, 4, [A] * 3, {}), "video_id 7 is not in `videos`"),
        ((1, 5, [A] * 3, {}), "category_id 5 is not in `categories`"),
        ((1, 4, [A] * 2, {}), "2 segmentations for a video of 3 frames"),
        ((1, 4, [A, A, box(0, 0, 2, 2, size=(4, 4))], {}), r"frame 2: an RLE has size \[4, 4\]"),
        ((1, 4, [A, {**A, "counts": A["counts"][:-1]}, A], {}), "frame 1: run lengths|frame 1: not a compressed RLE"),
    ],
)
def test_faults_of_the_ground_truth_are_told_with_the_annotation(annotation, said):
    with pytest.raises(Integrity, match=said) as caught:
        evaluate_vis(truth([annotation, annotation]), perfect())
    assert caught.value.where == "the annotations given:annotations, id 1"


def test_objects_without_any_mask_are_no_ground_truth():
    with pytest.raises(Missing, match="none of its objects has a mask"):
        evaluate_vis(truth([(1, 4, [None] * 3, {"bboxes": [[1, 1, 4, 4]] * 3})]), perfect())


def test_missing_fields_are_named():
    with pytest.raises(Integrity, match="results without video_id, category_id, score and segmentations: 1"):
        evaluate_vis(two_objects(), [{"video_id": 1}])


def test_files_that_cannot_be_scored(tmp_path):
    path = tmp_path / "gt.json"
    with pytest.raises(Missing):
        evaluate_vis(path, [])
    path.write_text('{"videos": [')
    with pytest.raises(Integrity):
        evaluate_vis(path, [])
    path.write_text("{}")
    with pytest.raises(Integrity):
        evaluate_vis(path, [])
    for annotations in ({}, {"annotations": None}):
        path.write_text(json.dumps({k: v for k, v in two_objects().items() if k != "annotations"} | annotations))
        with pytest.raises(Missing, match="no ground truth"):
            evaluate_vis(path, perfect())
    results = tmp_path / "results.json"
    for text in ('[{"video_id": 1,', "{", '{"a": 1}', "[1, 2]"):
        results.write_text(text)
        with pytest.raises(Integrity):
            evaluate_vis(two_objects(), results)
