"""AP of images is pycocotools' own, to the last digit: on random images and on frames of the recorded videos."""

from __future__ import annotations

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from hotcoco import COCO as HotCOCO
from hotcoco import COCOeval as HotEval
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from idol_core.errors import Integrity
from idol_core.evaluation.coco_ap import evaluate_coco
from tests.parity.kit import DATA
from tests.unit.image_sets import random_images

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def reference(content, results, kind):
    """pycocotools' evaluation; no results are an empty index there."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        found = truth.loadRes(copy.deepcopy(results))
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(12))
def test_random_images(seed):
    content, results = random_images(seed)
    masks = [{k: v for k, v in entry.items() if k != "bbox"} for entry in results]
    theirs = reference(content, masks, "segm")
    ours = evaluate_coco(content, results)
    assert [ours.stats[name] for name in NAMES] == theirs.stats.tolist()
    found = HotEval(HotCOCO(content), HotCOCO(content).loadRes(masks), "segm")
    found.evaluate()
    found.accumulate()
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(found.eval[name], theirs.eval[name])


def frames(number):
    """Objects and results of each frame of a recorded video set as those of an image."""
    folder = DATA / "ytviseval"
    content, results = (json.loads((folder / f"p{number}_{name}.json").read_text()) for name in ("gt", "results"))
    images, annotations, found = {}, [], []
    for video in content["videos"]:
        for t in range(len(video.get("file_names", range(video.get("length", 0))))):
            size = {"height": video["height"], "width": video["width"]}
            images[video["id"], t] = {"id": len(images) + 1, **size}
    for rows, into in ((content["annotations"], annotations), (results, found)):
        for row in rows:
            for t, segmentation in enumerate(row["segmentations"]):
                if segmentation:
                    image = images[row["video_id"], t]
                    if isinstance(segmentation["counts"], list):
                        segmentation = coco_mask.frPyObjects(segmentation, image["height"], image["width"])
                        segmentation["counts"] = segmentation["counts"].decode()
                    more = {
                        "bbox": coco_mask.toBbox(segmentation).tolist(),
                        "area": float(coco_mask.area(segmentation)),
                    }
                    kept = {k: row[k] for k in ("category_id", "score", "iscrowd") if k in row}
                    made = {"id": len(into) + 1, "image_id": image["id"], "segmentation": segmentation}
                    into.append({**made, **kept, **(more if rows is not results else {})})
    return {"images": list(images.values()), "categories": content["categories"], "annotations": annotations}, found


@pytest.mark.parametrize("number", range(12))
def test_frames_of_the_recorded_videos(number):
    content, results = frames(number)
    if not results:
        pytest.skip("pycocotools has no answer where there are no results")
    theirs = reference(content, results, "segm")
    ours = evaluate_coco(content, results)
    assert [ours.stats[name] for name in NAMES] == theirs.stats.tolist()


def test_nothing_is_printed(capfd):
    evaluate_coco(*random_images(0))
    assert capfd.readouterr() == ("", "")


def test_ids_that_are_no_numbers_are_told():
    content, results = random_images(0)
    for one in (*content["images"], *content["annotations"], *results):
        key = "image_id" if "image_id" in one else "id"
        one[key] = f"image {one[key]}"
    with pytest.raises(Integrity, match="image"):
        evaluate_coco(content, results)
