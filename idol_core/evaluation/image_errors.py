"""Why AP of images is lost: TIDE's six kinds of errors (Bolya et al. 2020), and the AP that mending each would give.

`docs/errors.md` defines the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.data.annotations.rle import from_annotation
from idol_core.evaluation.coco_ap import read_images
from idol_core.evaluation.error_kinds import IMAGE_KINDS, Judged, judge_image
from idol_core.evaluation.matching import Matching, match_results
from idol_core.evaluation.mending import ErrorTable, error_table
from idol_core.evaluation.protocol import IOU_THRESHOLDS


class ImageMatches(NamedTuple):
    """Results and objects of one image, matched. Objects without a mask are left out."""

    matching: Matching  # its results are rows of `places`, its objects those of `truths`
    places: list[int]  # of the results in the results file, from 0
    truths: list[int]  # ids of the annotations


class ImageError(NamedTuple):
    """One error at an IoU threshold of .5: a wrong result, or an object that is missed."""

    kind: str  # of IMAGE_KINDS
    image: int
    place: int | None  # of the result in the results file, from 0
    category: int | None  # of the result
    score: float | None  # of the result
    truth: int | None  # id of the annotation that it is about, None where there is none
    iou: float  # of result and object; 0 without either


def evaluate_image_errors(
    ground_truth: Mapping[str, Any] | Path, results: Iterable[Mapping[str, Any]] | Path
) -> ErrorTable:
    """Errors of masks in COCO format. Raises Missing and Integrity as `evaluate_coco`."""
    return image_error_table(match_images(ground_truth, results))


def match_images(
    ground_truth: Mapping[str, Any] | Path, results: Iterable[Mapping[str, Any]] | Path
) -> list[ImageMatches]:
    """Match results and objects of every image by their masks, in the order of the image ids. Raises likewise."""
    content, found = read_images(ground_truth, results)
    objects: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    places: dict[int, list[int]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    for place, entry in enumerate(found):
        places[entry["image_id"]].append(place)
    return [
        _match_image(image, objects[image["id"]], places[image["id"]], found)
        for image in sorted(content["images"], key=lambda image: image["id"])
    ]


def image_error_table(matches: Sequence[ImageMatches]) -> ErrorTable:
    """Count and AP of every kind of error, of what was matched before."""
    matchings = [one.matching for one in matches]
    thresholds = range(len(IOU_THRESHOLDS))
    judged = [[judge_image(one, threshold) for one in matchings] for threshold in thresholds]
    return error_table(IMAGE_KINDS, matchings, judged)


def image_errors(matches: Sequence[ImageMatches]) -> list[ImageError]:
    """Every error at an IoU threshold of .5, by image: first wrong results by falling score, then missed objects."""
    found: list[ImageError] = []
    for one in matches:
        judged = judge_image(one.matching, 0)
        order = np.argsort(-one.matching.scores, kind="stable")
        found += [_of_result(one, judged, int(row)) for row in order if judged.kinds[row] >= 0]
        for g in np.flatnonzero(judged.lost >= 0).tolist():
            kind = IMAGE_KINDS[judged.lost[g]]
            found.append(ImageError(kind, one.matching.id, None, None, None, one.truths[g], 0.0))
    return found


def _match_image(
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    places: list[int],
    found: Sequence[Mapping[str, Any]],
) -> ImageMatches:
    height, width = image["height"], image["width"]
    rles = [from_annotation(annotation.get("segmentation") or None, height, width) for annotation in annotations]
    shown = [(rle, annotation) for rle, annotation in zip(rles, annotations, strict=True) if rle is not None]
    crowd = [bool(annotation.get("iscrowd", 0)) for _, annotation in shown]
    results = [found[place] for place in places]
    masks = [from_annotation(entry["segmentation"], height, width) for entry in results]
    ious = coco_mask.iou(masks, [rle for rle, _ in shown], crowd) if masks and shown else []
    matching = match_results(
        image["id"],
        [entry["score"] for entry in results],
        [entry["category_id"] for entry in results],
        np.array(ious, np.float64).reshape(len(masks), len(shown)),
        np.array([annotation["category_id"] for _, annotation in shown], np.int64),
        np.array(crowd, bool),
    )
    return ImageMatches(matching, places, [annotation["id"] for _, annotation in shown])


def _of_result(one: ImageMatches, judged: Judged, row: int) -> ImageError:
    matching = one.matching
    target: int | None = int(judged.targets[row])
    if target == -1:
        target = int(matching.ious[row].argmax()) if judged.kinds[row] != IMAGE_KINDS.index("bkg") else None
    return ImageError(
        kind=IMAGE_KINDS[judged.kinds[row]],
        image=matching.id,
        place=one.places[matching.results[row]],
        category=int(matching.categories[row]),
        score=float(matching.scores[row]),
        truth=None if target is None else one.truths[target],
        iou=0.0 if target is None else float(matching.ious[row, target]),
    )
