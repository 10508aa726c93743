"""Error analysis of images: TIDE's six kinds of errors (Bolya et al. 2020), and the AP if each were corrected.

`docs/errors.md` defines the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.evaluation.coco_files import (
    ImageObject,
    ImageResult,
    image_index,
    image_objects,
    image_sizes,
    read_image_results,
)
from idol_core.evaluation.error_kinds import IMAGE_KINDS, Judged, judge_image
from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.matching import Matching, match_results
from idol_core.evaluation.mending import ErrorTable, error_table
from idol_core.evaluation.protocol import IOU_THRESHOLDS


class ImageMatches(NamedTuple):
    """Matched results and objects of one image, without objects that have no mask."""

    matching: Matching  # its results are rows of `places`, its objects those of `truths`
    places: list[int]  # index of each result in the results file, from 0
    truths: list[int]  # annotation ids of the objects


class ImageError(NamedTuple):
    """One error at an IoU threshold of .5: a wrong result or a missed object."""

    kind: str  # one of IMAGE_KINDS
    image: int
    place: int | None  # index of the result in the results file, from 0; None: a missed object
    category: int | None  # of the result
    score: float | None  # of the result
    truth: int | None  # id of the annotation concerned; None: no object
    iou: float  # IoU of result and object; 0 if one is missing


def evaluate_image_errors(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, where: str = ""
) -> ErrorTable:
    """Analyse the errors of results in COCO format; `where` names an index in errors.

    Raises Missing and Integrity as `evaluate_coco`.
    """
    return image_error_table(match_images(ground_truth, results, where=where))


def match_images(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, where: str = ""
) -> list[ImageMatches]:
    """Match results and objects of every image by their masks, in the order of image ids. Raises as `evaluate_coco`."""
    index = image_index(ground_truth, where=where)
    images = image_sizes(index)
    objects: dict[int, list[ImageObject]] = {image: [] for image in images}
    found: dict[int, list[ImageResult]] = {image: [] for image in images}
    for one in image_objects(index):
        objects[one.image].append(one)
    for result in read_image_results(results, index):
        found[result.image].append(result)
    return [_match_image(image, objects[image], found[image]) for image in images]


def image_error_table(matches: Sequence[ImageMatches]) -> ErrorTable:
    """Compute count and corrected AP of every kind of error from `match_images`."""
    matchings = [one.matching for one in matches]
    thresholds = range(len(IOU_THRESHOLDS))
    judged = [[judge_image(one, threshold) for one in matchings] for threshold in thresholds]
    return error_table(IMAGE_KINDS, matchings, judged)


def image_errors(matches: Sequence[ImageMatches]) -> list[ImageError]:
    """List every error at an IoU threshold of .5, by image: wrong results by descending score, then missed objects."""
    found: list[ImageError] = []
    for one in matches:
        judged = judge_image(one.matching, 0)
        order = np.argsort(-one.matching.scores, kind="stable")
        found += [_of_result(one, judged, int(row)) for row in order if judged.kinds[row] >= 0]
        for g in np.flatnonzero(judged.lost >= 0).tolist():
            kind = IMAGE_KINDS[judged.lost[g]]
            found.append(ImageError(kind, one.matching.id, None, None, None, one.truths[g], 0.0))
    return found


def _match_image(image: int, objects: Sequence[ImageObject], results: Sequence[ImageResult]) -> ImageMatches:
    crowd = [one.crowd for one in objects]
    masks = [result.mask for result in results]
    ious = coco_mask.iou(masks, [one.mask for one in objects], crowd) if masks and objects else []
    matching = match_results(
        image,
        [result.score for result in results],
        [result.category for result in results],
        np.array(ious, np.float64).reshape(len(masks), len(objects)),
        np.array([one.category for one in objects], np.int64),
        np.array(crowd, bool),
    )
    return ImageMatches(matching, [result.place for result in results], [one.id for one in objects])


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
