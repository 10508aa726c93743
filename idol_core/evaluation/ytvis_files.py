"""Read YouTube-VIS ground truth and results for scoring: checked, masks kept compressed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idol_core.data.annotations import fields
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.rle import check_counts
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.errors import Missing
from idol_core.evaluation.faults import Faults, result_items
from idol_core.evaluation.ground_truth import GroundTruthSource, open_ground_truth

Key = tuple[int, int]  # (video id, category id)
_REQUIRED = ("video_id", "category_id", "score", "segmentations")


class Video(NamedTuple):
    """A video's frame size and number of frames."""

    height: int
    width: int
    frames: int


class Truth(NamedTuple):
    """One annotated object."""

    masks: list[bytes | None]  # compressed counts per frame
    area: float  # mean over frames where `areas` is neither 0 nor null; without any, of the mask areas; else 0
    crowd: bool
    occlusion: tuple[str | None, ...]  # OVIS: per frame; empty if not in the file
    id: int | None = None  # annotation id


class Result(NamedTuple):
    """One entry of a results file."""

    video: int
    category: int
    score: float
    masks: list[bytes | None]  # compressed counts of every frame


class GroundTruth(NamedTuple):
    """Annotations with ground truth."""

    categories: dict[int, str]  # id -> name, ids ascending
    videos: dict[int, Video]  # ids ascending
    truths: dict[Key, list[Truth]]


def read_ground_truth(source: GroundTruthSource, *, where: str = "") -> GroundTruth:
    """Read ground truth from an index, an annotation file or its parsed content. `where` names an index in errors.

    Raises Missing if the file does not exist or has no annotations, Integrity if it is malformed.
    """
    index, name = open_ground_truth(source, "vis", where=where)
    empty = isinstance(source, Mapping) and source.get("annotations") == []  # an explicitly empty list is allowed
    if not len(index.counts) and not empty:
        without = ": none of its objects has a mask" if len(index.track_ids) else ""
        raise Missing(
            f"the file carries no ground truth{without}, so there is nothing to score against",
            where=name,
            fix="package the results for the server with `idolctl submit`, or score on a split with annotations",
        )
    lengths = np.diff(index.first_frame).tolist()
    videos = {
        number: Video(height, width, frames)
        for number, (height, width), frames in zip(
            index.video_ids.tolist(), index.video_sizes.tolist(), lengths, strict=True
        )
    }
    categories = dict(sorted(zip(index.category_ids.tolist(), index.category_names, strict=True)))
    truths: dict[Key, list[Truth]] = {}
    for row, number in enumerate(index.video_ids.tolist()):
        for track in range(int(index.first_track[row]), int(index.first_track[row + 1])):
            key = (number, int(index.category_ids[index.track_categories[track]]))
            truths.setdefault(key, []).append(_truth(index, track, lengths[row]))
    return GroundTruth(categories, dict(sorted(videos.items())), truths)


def read_results(source: Iterable[Mapping[str, Any]] | Path, truth: GroundTruth) -> Iterator[Result]:
    """Yield every valid result; a file is streamed. Raises Integrity after the last one if there were faults."""
    where = str(source) if isinstance(source, Path) else "the results given"
    faults = Faults(where, "score the results against the annotations of the set that they were made for")
    for index, entry in enumerate(result_items(source)):
        result = _result(entry, index, truth, faults)
        if result is not None:
            yield result
    faults.check()


def _truth(index: AnnotationIndex, track: int, frames: int) -> Truth:
    first = int(index.first_segment[track])
    starts = index.segment_start[first : first + frames + 1].tolist()
    masks = [index.counts[a:b].tobytes() if a < b else None for a, b in itertools.pairwise(starts)]
    area = float(index.track_areas[track])
    if math.isnan(area):
        seen = [float(a) for a in index.segment_areas[first : first + frames].tolist() if a]
        area = math.fsum(seen) / len(seen) if seen else 0.0
    levels = index.segment_occlusion[first : first + frames].tolist()
    named = tuple(index.occlusion_levels[level] if level >= 0 else None for level in levels if level > -2)
    return Truth(masks, area, bool(index.track_crowd[track]), named, int(index.track_ids[track]))


def _result(entry: Any, index: int, truth: GroundTruth, faults: Faults) -> Result | None:
    name = f"result {index}"
    if not isinstance(entry, Mapping) or not set(_REQUIRED) <= set(entry):
        faults.add(f"results without {', '.join(_REQUIRED[:-1])} and {_REQUIRED[-1]}", name)
        return None
    video, category = fields.as_integer(entry["video_id"]), fields.as_integer(entry["category_id"])
    if video not in truth.videos:
        shown, known = fields.shown(entry["video_id"]), _range(truth.videos)
        faults.add("results for unknown videos", f"{name}, video_id {shown}; known ids: {known}")
        return None
    if category is None or category not in truth.categories:
        shown, known = fields.shown(entry["category_id"]), _range(truth.categories)
        faults.add("results for unknown categories", f"{name}, category_id {shown}; known ids: {known}")
        return None
    if (wrong := fields.other_class(entry, category, truth.categories)) is not None:
        faults.add("results of another class than their category_id", f"{name}: {wrong}")
        return None
    score = fields.number(entry["score"])
    if score is None:
        faults.add("results whose score is not a finite number", f"{name}, score {fields.shown(entry['score'])}")
        return None
    assert video is not None
    masks = _masks(entry["segmentations"], truth.videos[video], f"{name}, video {video}", faults)
    return None if masks is None else Result(video, category, score, masks)


def _range(known: Mapping[int, Any]) -> str:
    return f"{min(known)}..{max(known)}" if known else "none"


def _masks(segmentations: Any, video: Video, name: str, faults: Faults) -> list[bytes | None] | None:
    if not isinstance(segmentations, list) or len(segmentations) != video.frames:
        count = len(segmentations) if isinstance(segmentations, list) else fields.shown(segmentations)
        faults.add("wrong number of frames", f"{name}: {count} segmentations for {video.frames} frames")
        return None
    masks: list[bytes | None] = []
    try:
        for segmentation in segmentations:
            rle = read_segmentation(segmentation, video.height, video.width).rle
            masks.append(None if rle is None else rle["counts"])
        check_counts([counts for counts in masks if counts is not None], video.height * video.width)
    except ValueError as error:
        faults.add("malformed masks", f"{name}: {error}")
        return None
    return masks
