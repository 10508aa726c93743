"""Errors of images are TIDE's: the same as hotcoco's, and put in one kind at a time they move that kind alone."""

from __future__ import annotations

import numpy as np
import pytest
from hotcoco import COCO, COCOeval

from idol_core.evaluation.coco_ap import evaluate_coco
from idol_core.evaluation.image_errors import evaluate_image_errors, image_errors, match_images
from tests.unit.broken_sets import BREAKERS, CATEGORIES, Perfect
from tests.unit.image_sets import random_images
from tests.unit.vis_sets import HEIGHT, WIDTH, box

FRAME = 4  # of the videos of `Perfect`: all their objects are there


def one_frame(data):
    """That frame of videos as COCO images."""
    content, tracks = data.files()
    annotations = [in_frame(one, ("id", "category_id")) for one in content["annotations"]]
    results = [in_frame(one, ("category_id", "score")) for one in tracks]
    images = [{"id": v["id"], "height": HEIGHT, "width": WIDTH} for v in content["videos"]]
    return {"images": images, "categories": content["categories"], "annotations": annotations}, results


def in_frame(one, keys):
    kept = {key: one[key] for key in keys}
    return {**kept, "image_id": one["video_id"], "segmentation": one["segmentations"][FRAME]}


def narrow(track):
    track[3] = [b and (*b[:2], max(1, (b[2] - 1) // 3 + (b[2] == 7)), b[3]) for b in track[3]]


def loc(data):
    narrow(data.chosen())


def both(data):
    """A further result of an object that is found anyway: mended, it is taken out."""
    track = list(data.chosen())
    track[1] = int(data.rng.choice([c for c in CATEGORIES if c != track[1]]))
    narrow(track)
    data.tracks.append(track)


IMAGE_BREAKERS = {
    "cls": BREAKERS["class"],
    "loc": loc,
    "both": both,
    "dupe": BREAKERS["duplicate"],
    "bkg": BREAKERS["background"],
    "miss": BREAKERS["missed"],
}


@pytest.mark.parametrize("kind", IMAGE_BREAKERS)
@pytest.mark.parametrize("seed", range(5))
def test_errors_of_one_kind_move_that_kind_only(kind, seed):
    data = Perfect(seed)
    for _ in range(3):
        IMAGE_BREAKERS[kind](data)
    found = evaluate_image_errors(*one_frame(data))
    assert found.kinds[kind].count == 3
    assert (found.kinds[kind].ap, found.all.ap, found.all.ap50) == pytest.approx((100, 100, 100))
    for name, mended in found.kinds.items():
        if name != kind:
            assert (mended.count, mended.ap, mended.ap50) == (0, found.ap, found.ap50)


@pytest.mark.parametrize("seed", range(12))
def test_random_images_have_the_errors_that_hotcoco_tells(seed):
    """Without crowds, which it treats otherwise, and without equal scores, of which the order is anybody's."""
    content, results = random_images(seed, ignored=False)
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 0
    scores = np.random.default_rng(seed).random(len(results)).tolist()
    results = [one | {"score": score} for one, score in zip(results, scores, strict=True)]
    evaluation = COCOeval(COCO(content), COCO(content).loadRes(results), "segm")
    evaluation.evaluate()
    theirs = evaluation.tide_errors()
    ours = evaluate_image_errors(content, results)
    assert {name: kind.count for name, kind in ours.kinds.items()} == {
        name.lower(): count for name, count in theirs["counts"].items()
    }
    assert {name: kind.ap50 - ours.ap50 for name, kind in ours.kinds.items()} == pytest.approx(
        {name.lower(): 100 * theirs["delta_ap"][name] for name in theirs["counts"]}, abs=1e-9
    )


@pytest.mark.parametrize("seed", range(6))
def test_crowds_and_equal_scores_change_neither_ap_nor_the_hundred(seed):
    content, results = random_images(seed)
    found, scores = evaluate_image_errors(content, results), evaluate_coco(content, results).stats
    assert (found.ap, found.ap50) == pytest.approx((100 * scores["AP"], 100 * scores["AP50"]), abs=1e-9)
    assert (found.all.ap, found.all.ap50) == pytest.approx((100, 100))


def test_errors_name_their_result_and_annotation():
    whole, part, far = box(0, 0, 8, 8), box(0, 0, 3, 8), box(16, 12, 6, 6)
    content = {
        "images": [{"id": 7, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 2, "name": "a"}, {"id": 5, "name": "b"}],
        "annotations": [
            {"id": 31, "image_id": 7, "category_id": 2, "segmentation": []},  # a box without a mask is no object
            {"id": 40, "image_id": 7, "category_id": 2, "segmentation": whole},
            {"id": 41, "image_id": 7, "category_id": 5, "segmentation": far},
        ],
    }
    rows = [
        (2, 0.3, whole),
        (2, 0.9, whole),
        (5, 0.8, whole),
        (2, 0.7, part),
        (5, 0.6, part),
        (2, 0.5, box(24, 0, 4, 4)),
    ]
    results = [{"image_id": 7, "category_id": c, "score": s, "segmentation": m} for c, s, m in rows]
    assert [(e.kind, e.place, e.truth, e.iou) for e in image_errors(match_images(content, results))] == [
        ("cls", 2, 40, 1.0),
        ("loc", 3, 40, 0.375),
        ("both", 4, 40, 0.375),
        ("bkg", 5, None, 0.0),
        ("dupe", 0, 40, 1.0),
        ("miss", None, 41, 0.0),
    ]
