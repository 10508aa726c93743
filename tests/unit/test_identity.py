"""Identity metrics: those of the package TrackEval on random videos, and small videos with known answers."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from idol_core.evaluation import IDENTITY_METRICS
from idol_core.evaluation.identity import evaluate_identity
from tests.unit.random_sets import random_set
from tests.unit.vis_sets import HEIGHT, WIDTH, box, result, truth

LEFT, RIGHT = box(0, 0, 8, 8), box(16, 0, 8, 8)


def reference(content, results, folder):
    """TrackEval's figures: combined, class-averaged and of each class."""
    trackeval = pytest.importorskip("trackeval", reason="the package trackeval is not installed")
    content, results = copy.deepcopy(content), copy.deepcopy(results)
    for annotation in content["annotations"]:
        annotation |= {"height": HEIGHT, "width": WIDTH, "areas": [s and 1.0 for s in annotation["segmentations"]]}
        annotation["segmentations"] = [s and uncompressed(s) for s in annotation["segmentations"]]
    for name, value in (("gt/youtube_vis_all", content), ("trackers/youtube_vis_all/ours/data", results)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "file.json").write_text(json.dumps(value))
    dataset = trackeval.datasets.YouTubeVIS(
        {
            "GT_FOLDER": f"{folder}/gt/",
            "TRACKERS_FOLDER": f"{folder}/trackers/",
            "SPLIT_TO_EVAL": "all",
            "PRINT_CONFIG": False,
        }
    )
    quiet = dict.fromkeys(("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY"), False)
    quiet |= dict.fromkeys(("OUTPUT_EMPTY_CLASSES", "OUTPUT_DETAILED", "PLOT_CURVES", "DISPLAY_LESS_PROGRESS"), False)
    quiet |= {"LOG_ON_ERROR": None, "BREAK_ON_ERROR": True}
    kinds = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR({"PRINT_CONFIG": False})]
    kinds.append(trackeval.metrics.Identity({"PRINT_CONFIG": False}))
    found, _ = trackeval.Evaluator(quiet).evaluate([dataset], kinds)
    rows = found["YouTubeVIS"]["ours"]["COMBINED_SEQ"]
    figures = {key: {**row["HOTA"], **row["CLEAR"], **row["Identity"]} for key, row in rows.items()}
    return {
        key: {name: float(np.mean(row[name])) * (1 if name == "IDSW" else 100) for name in IDENTITY_METRICS}
        for key, row in figures.items()
    }


def uncompressed(segmentation):
    """Run lengths of a mask, zeros first, column by column."""
    pixels = coco_mask.decode(segmentation).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff([0, *changes, pixels.size]).tolist()
    return {"size": segmentation["size"], "counts": [0, *runs] if pixels[0] else runs}


def same(ours, theirs):
    return ours == pytest.approx(theirs, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_random_videos_score_as_with_trackeval(seed, tmp_path):
    content, results = random_set(seed)
    theirs = reference(content, results, tmp_path)
    ours = evaluate_identity(content, results)
    assert same(ours.combined, theirs["cls_comb_det_av"])
    assert same(ours.class_average, theirs["cls_comb_cls_av"])
    for category, figures in ours.per_category.items():
        assert same(figures, theirs[ours.category_names[category]])
    assert 0 < ours.combined["HOTA"] < 100


@pytest.mark.parametrize("seed", range(3))
def test_above_a_threshold_each_track_has_its_best_class_alone(seed, tmp_path):
    content, results = random_set(seed)
    best = {}
    for one in results:
        key = (one["video_id"], json.dumps(one["segmentations"]))
        if key not in best or one["score"] > best[key]["score"]:
            best[key] = one
    kept = [one for one in results if one["score"] >= 0.4 and any(one is b for b in best.values())]
    assert len(kept) < sum(one["score"] >= 0.4 for one in results)
    theirs = reference(content, kept, tmp_path)
    assert same(evaluate_identity(content, results, threshold=0.4).combined, theirs["cls_comb_det_av"])


def test_no_results_and_no_objects(tmp_path):
    content, results = random_set(3)
    for index, (some, found) in enumerate(((content, []), (content | {"annotations": []}, results))):
        theirs = reference(some, found, tmp_path / str(index))
        ours = evaluate_identity(some, found)
        assert same(ours.combined, theirs["cls_comb_det_av"])
        assert same(ours.class_average, theirs["cls_comb_cls_av"])


def pair(**more):
    return truth([(1, 4, [LEFT] * 4, more), (1, 4, [RIGHT] * 4, {})], videos=((1, 4),))


def test_perfect_tracks_score_a_hundred():
    scores = evaluate_identity(pair(), [result(1, 4, 0.9, [LEFT] * 4), result(1, 4, 0.8, [RIGHT] * 4)])
    assert scores.combined == pytest.approx(dict.fromkeys(IDENTITY_METRICS, 100) | {"IDSW": 0})
    assert scores.per_category[4] == scores.combined
    assert scores.class_average["HOTA"] == pytest.approx(50)  # the other class has neither objects nor tracks


def test_a_swap_halfway_by_hand():
    """All is detected, so DetA stays 100; each of the 8 detections agrees with its object in 2 of 6 frames: 1/3."""
    swapped = [result(1, 4, 0.9, [LEFT] * 2 + [RIGHT] * 2), result(1, 4, 0.8, [RIGHT] * 2 + [LEFT] * 2)]
    found = evaluate_identity(pair(), swapped).combined
    assert found["DetA"] == found["LocA"] == pytest.approx(100)
    assert found["AssA"] == pytest.approx(100 / 3)
    assert found["HOTA"] == pytest.approx(100 * (1 / 3) ** 0.5)
    assert found["IDF1"] == pytest.approx(50)
    assert found["IDSW"] == 2
    assert found["MOTA"] == pytest.approx(75)


def test_a_crowd_counts_as_an_object():
    results = [result(1, 4, 0.9, [LEFT] * 4), result(1, 4, 0.8, [RIGHT] * 4)]
    assert evaluate_identity(pair(iscrowd=1), results[1:]).combined["MOTA"] == pytest.approx(50)
