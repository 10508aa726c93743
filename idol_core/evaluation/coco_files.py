"""Read and check COCO ground truth and results for scoring; ground truth is read as in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idol_core.data.annotations import fields
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.rle import RLE, areas_of
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.errors import Missing
from idol_core.evaluation.faults import Faults, result_items
from idol_core.evaluation.ground_truth import GroundTruthSource, open_ground_truth

_REQUIRED = ("image_id", "category_id", "score", "segmentation")


class ImageResult(NamedTuple):
    """One entry of a results file."""

    place: int  # index in the file, from 0
    image: int
    category: int
    score: float
    mask: RLE
    area: int  # pixels of the mask; any `bbox` is ignored


class ImageObject(NamedTuple):
    """One annotated object."""

    id: int
    image: int
    category: int
    crowd: bool
    mask: RLE
    area: float  # `area` of the file, otherwise pixels of the mask


def image_index(source: GroundTruthSource, *, where: str = "") -> AnnotationIndex:
    """Open image ground truth: an index, an annotation file or its content. `where` names an index in errors.

    Raises Missing if the file does not exist or no object has a mask, Integrity if it is malformed.
    """
    index, name = open_ground_truth(source, "coco", where=where)
    if not len(index.counts):
        without = ": none of its objects has a mask" if len(index.track_ids) else ""
        what = f"the file carries no ground truth{without}"
        raise Missing(what, where=name, fix="score on a split with annotations")
    return index


def image_sizes(index: AnnotationIndex) -> dict[int, tuple[int, int]]:
    """Height and width of every image, ids ascending."""
    sizes = zip(index.video_ids.tolist(), index.video_sizes.tolist(), strict=True)
    return {number: (height, width) for number, (height, width) in sorted(sizes)}


def image_objects(index: AnnotationIndex) -> list[ImageObject]:
    """List all objects that have a mask, image by image."""
    track, frame = index.track_segments()
    segment = index.segments_of(track, frame)
    given = index.segment_start[segment] < index.segment_start[segment + 1]
    areas = np.where(np.isnan(index.track_areas[track]), index.segment_areas[segment], index.track_areas[track])
    found = []
    for row, image, area in zip(track[given].tolist(), frame[given].tolist(), areas[given].tolist(), strict=True):
        mask = index.segment(row, 0, index.video_sizes[image].tolist())
        assert mask is not None
        category = int(index.category_ids[index.track_categories[row]])
        number, owner = int(index.track_ids[row]), int(index.video_ids[image])
        found.append(ImageObject(number, owner, category, bool(index.track_crowd[row]), mask, area))
    return found


def read_image_results(source: Iterable[Mapping[str, Any]] | Path, index: AnnotationIndex) -> list[ImageResult]:
    """Read and check all results; a file is streamed.

    Raises Missing if there is no such file; Integrity, with a count and an example of each kind of fault, for unknown
    image and category ids, non-numeric scores and malformed masks.
    """
    name = str(source) if isinstance(source, Path) else "the results given"
    faults = Faults(name, "score the results against the annotations of the set that they were made for")
    sizes = image_sizes(index)
    categories = dict(zip(index.category_ids.tolist(), index.category_names, strict=True))
    found = [_result(place, entry, sizes, categories, faults) for place, entry in enumerate(result_items(source))]
    faults.check()
    return [result for result in found if result is not None]


def _result(
    place: int, entry: Any, sizes: Mapping[int, tuple[int, int]], categories: Mapping[int, str], faults: Faults
) -> ImageResult | None:
    name = f"result {place}"
    if not isinstance(entry, Mapping) or not set(_REQUIRED) <= set(entry):
        faults.add(f"results without {', '.join(_REQUIRED[:-1])} and {_REQUIRED[-1]}", name)
        return None
    image, category = fields.as_integer(entry["image_id"]), fields.as_integer(entry["category_id"])
    if image is None or image not in sizes:
        faults.add("results for unknown images", f"{name}, image_id {fields.shown(entry['image_id'])}")
        return None
    if category is None or category not in categories:
        faults.add("results for unknown categories", f"{name}, category_id {fields.shown(entry['category_id'])}")
        return None
    if (wrong := fields.other_class(entry, category, categories)) is not None:
        faults.add("results of another class than their category_id", f"{name}: {wrong}")
        return None
    score = fields.number(entry["score"])
    if score is None:
        faults.add("results whose score is not a finite number", f"{name}, score {fields.shown(entry['score'])}")
        return None
    height, width = sizes[image]
    try:
        mask = read_segmentation(entry["segmentation"], height, width).rle
        if mask is None:
            raise ValueError("no mask")
        (area,) = areas_of([mask["counts"]], np.array([height * width])).tolist()
    except ValueError as error:
        faults.add("malformed masks", f"{name}: {error}")
        return None
    return ImageResult(place, image, category, score, mask, area)
