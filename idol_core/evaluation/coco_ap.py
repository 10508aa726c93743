"""Mask AP of images, computed by hotcoco (same numbers as pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hotcoco import COCO, COCOeval

from idol_core.data.annotations.rle import to_json
from idol_core.evaluation.coco_files import (
    ImageObject,
    ImageResult,
    image_index,
    image_objects,
    image_sizes,
    read_image_results,
)
from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.oddities import Key, mask_key, score_notes
from idol_core.evaluation.protocol import mean_defined

_AREAS, _MOST = ("", "s", "m", "l"), (1, 10, 100)  # as pycocotools orders them
_PER_CATEGORY = ("AP", "AP50", "AR100")
_TOGETHER = 500  # categories scored at a time: each takes 0.1 MB


@dataclass(frozen=True)
class CocoScores:
    """Image scores on 0..1; -1 where undefined (no ground truth). `stats` and `per_category` as in `VisScores`, the
    latter with AP, AP50 and AR100 only.
    """

    stats: dict[str, float]
    per_category: dict[int, dict[str, float]]
    category_names: dict[int, str]
    notes: tuple[str, ...] = ()  # see `score_notes`


def evaluate_coco(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, where: str = ""
) -> CocoScores:
    """Score results in COCO format against annotations: an index (`where` names it in errors), a file or its content.

    Object sizes are mask areas: for ground truth the file's `area` if present, otherwise (and for results) the pixels
    of the mask. Annotations without a mask are ignored.

    Raises Missing and Integrity as `image_index` and `read_image_results`.
    """
    index = image_index(ground_truth, where=where)
    truth, found = image_objects(index), read_image_results(results, index)
    images = image_sizes(index)
    names = dict(sorted(zip(index.category_ids.tolist(), index.category_names, strict=True)))
    annotated = sorted({one.category for one in truth})
    parts = [annotated[first : first + _TOGETHER] for first in range(0, len(annotated), _TOGETHER)]
    scored = [_scored(images, truth, found, part) for part in parts]
    rows = {category: row for _, some in scored for category, row in some.items()}
    stats = scored[0][0]
    if len(scored) > 1:  # all curves are equally long: the overall mean is the mean of category means
        stats = {name: mean_defined(np.array([row[name] for row in rows.values()])) for name in stats}
    undefined = dict.fromkeys(_PER_CATEGORY, -1.0)
    per_category = {c: {k: rows[c][k] for k in _PER_CATEGORY} if c in rows else undefined for c in names}
    notes = score_notes(
        labelled={one.image for one in truth if not one.crowd},
        results=[_key(one) for one in found],
        objects=[_key(one) for one in truth],
        unit="image",
    )
    return CocoScores(stats, per_category, names, notes)


def _key(one: ImageObject | ImageResult) -> Key:
    return one.image, one.category, mask_key([one.mask["counts"]]) if one.area else None


def _scored(
    images: Mapping[int, tuple[int, int]],
    truth: Sequence[ImageObject],
    found: Sequence[ImageResult],
    categories: Sequence[int],
) -> tuple[dict[str, float], dict[int, dict[str, float]]]:
    """Compute the metrics over these categories together, and for each."""
    rank = {category: place for place, category in enumerate(categories, start=1)}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation: Any = COCOeval(_coco(images, rank, truth), _coco(images, rank, found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T, R, K, A, M], [T, K, A, M]
    rows = {c: _figures(precision[:, :, k : k + 1], recall[:, k : k + 1]) for k, c in enumerate(categories)}
    return _figures(precision, recall), rows


def _figures(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """The metrics of COCO's summary, under our names."""
    figures = {
        "AP": mean_defined(precision[:, :, :, 0, -1]),
        "AP50": mean_defined(precision[0, :, :, 0, -1]),
        "AP75": mean_defined(precision[5, :, :, 0, -1]),
    }
    figures |= {f"AP{size}": mean_defined(precision[:, :, :, a, -1]) for a, size in enumerate(_AREAS) if size}
    figures |= {f"AR{most}": mean_defined(recall[:, :, 0, m]) for m, most in enumerate(_MOST)}
    return figures | {f"AR{size}": mean_defined(recall[:, :, a, -1]) for a, size in enumerate(_AREAS) if size}


def _coco(
    images: Mapping[int, tuple[int, int]], rank: Mapping[int, int], side: Sequence[ImageObject | ImageResult]
) -> COCO:
    """Build a COCO object for the categories in `rank`. Ids are renumbered from 1: 0 means no match, negatives fail."""
    places = {image: place for place, image in enumerate(images, start=1)}
    chosen = [one for one in side if one.category in rank]
    annotations = [
        {
            "id": number,
            "image_id": places[one.image],
            "category_id": rank[one.category],
            "segmentation": to_json(one.mask),
            "area": float(one.area),
            "bbox": [0.0, 0.0, 0.0, 0.0],  # unused: only masks are compared
            "iscrowd": int(isinstance(one, ImageObject) and one.crowd),
            **({"score": one.score} if isinstance(one, ImageResult) else {}),
        }
        for number, one in enumerate(chosen, start=1)
    ]
    sizes = [{"id": places[image], "height": h, "width": w} for image, (h, w) in images.items()]
    categories = [{"id": place, "name": str(category)} for category, place in rank.items()]
    return COCO({"images": sizes, "categories": categories, "annotations": annotations})
