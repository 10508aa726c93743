"""Box and mask AP of single images, computed by hotcoco, whose numbers are those of pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hotcoco import COCO, COCOeval
from pycocotools import mask as coco_mask

from idol_core.data.annotations.rle import check_counts, from_annotation
from idol_core.errors import Integrity, Missing
from idol_core.evaluation.faults import Faults, load_json
from idol_core.evaluation.protocol import mean_defined

_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class CocoScores:
    """Scores on 0..1, -1 where no ground truth defines one. `stats` and `per_category` as in `VisScores`, the latter
    with AP, AP50 and AR100."""

    stats: dict[str, float]
    per_category: dict[int, dict[str, float]]
    category_names: dict[int, str]


def evaluate_coco(
    ground_truth: Mapping[str, Any] | Path,
    results: Iterable[Mapping[str, Any]] | Path,
    *,
    kind: Literal["segm", "bbox"] = "segm",
) -> CocoScores:
    """Score results in COCO format against an annotation file; both may be given as parsed or as a path.

    Raises Missing where a file or its ground truth is not there, Integrity, with a count and an example, for unknown
    image and category ids, scores that are no numbers and masks of another size than their image's.
    """
    content, found = read_images(ground_truth, results, kind=kind)
    truth_name = _name(ground_truth, "the annotations given")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(content, _annotations(content, kind), truth_name)
        theirs = truth.loadRes([dict(entry) for entry in found]) if found else _index(content, [], truth_name)
        evaluation: Any = COCOeval(truth, theirs, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T, R, K, A, M], [T, K, A, M]
    categories = evaluation.params.catIds
    return CocoScores(
        stats={name: float(value) for name, value in zip(_NAMES, evaluation.stats, strict=True)},
        per_category={
            int(category): {
                "AP": mean_defined(precision[:, :, k, 0, -1]),
                "AP50": mean_defined(precision[0, :, k, 0, -1]),
                "AR100": mean_defined(recall[:, k, 0, -1]),
            }
            for k, category in enumerate(categories)
        },
        category_names={int(c["id"]): str(c.get("name", c["id"])) for c in content["categories"]},
    )


def read_images(
    ground_truth: Mapping[str, Any] | Path,
    results: Iterable[Mapping[str, Any]] | Path,
    *,
    kind: Literal["segm", "bbox"] = "segm",
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The content of both files, results checked against the ground truth. Raises as `evaluate_coco`."""
    content = load_json(ground_truth) if isinstance(ground_truth, Path) else ground_truth
    found = load_json(results) if isinstance(results, Path) else list(results)
    if content.get("annotations") is None:
        where = _name(ground_truth, "the annotations given")
        raise Missing("the file carries no ground truth", where=where, fix="score on a split with annotations")
    _check(content, found, kind, _name(results, "the results given"))
    return content, found


def _name(source: Any, otherwise: str) -> str:
    return str(source) if isinstance(source, Path) else otherwise


def _index(content: Mapping[str, Any], annotations: list[dict[str, Any]], where: str) -> COCO:
    try:
        return COCO({"images": content["images"], "categories": content["categories"], "annotations": annotations})
    except ValueError as error:  # ids that are no whole numbers from 0 on, boxes that are no four numbers
        raise Integrity(f"not a COCO annotation file: {error}", where=where, fix="repair the annotations") from error


def _annotations(content: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Copies, numbered anew from 1: pycocotools takes the id 0 for no match.

    What files of one's own often lack is made up for: `iscrowd`, `area`; an annotation without a mask is no truth.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    kept: list[dict[str, Any]] = []
    for entry in content["annotations"]:
        made = {"iscrowd": 0} | entry | {"id": len(kept) + 1}
        if kind == "segm" and (not entry.get("segmentation") or entry.get("area") is None):
            rle = from_annotation(entry.get("segmentation"), *sizes[entry["image_id"]])
            if rle is None:
                continue
            made["area"] = float(coco_mask.area(rle))
        kept.append(made)
    return kept


def _check(content: Mapping[str, Any], results: Any, kind: str, where: str) -> None:
    if not isinstance(results, list):
        raise Integrity("not a list of results", where=where, fix="make the results again")
    faults = Faults(where, "score the results against the annotations of the set that they were made for")
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    part = "segmentation" if kind == "segm" else "bbox"
    for index, entry in enumerate(results):
        name = f"result {index}"
        if not isinstance(entry, Mapping) or not {"image_id", "category_id", "score", part} <= set(entry):
            faults.add(f"results without image_id, category_id, score and {part}", name)
            continue
        if entry["image_id"] not in sizes:
            faults.add("results for unknown images", f"{name}, image_id {entry['image_id']!r}")
            continue
        if entry["category_id"] not in categories:
            faults.add("results for unknown categories", f"{name}, category_id {entry['category_id']!r}")
        score = entry["score"]
        if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
            faults.add("results whose score is not a finite number", f"{name}, score {score!r}")
        if kind == "segm":
            _check_mask(entry["segmentation"], *sizes[entry["image_id"]], name, faults)
    faults.check()


def _check_mask(segmentation: Any, height: int, width: int, name: str, faults: Faults) -> None:
    try:
        rle = from_annotation(segmentation, height, width)
        if rle is None:
            raise ValueError("no mask")
        check_counts([rle["counts"]], height * width)
    except (Integrity, ValueError, TypeError) as error:
        faults.add("malformed masks", f"{name}: {error}")
