"""Read YouTube-VIS ground truth and results for scoring: checked, masks kept compressed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ijson

from idol_core.data.annotations.rle import check_counts, from_annotation
from idol_core.errors import Integrity, Missing
from idol_core.evaluation.faults import Faults, load_json
from idol_core.evaluation.track_iou import frame_areas

Key = tuple[int, int]  # (video id, category id)


class Video(NamedTuple):
    """A video's frame size and number of frames."""

    height: int
    width: int
    frames: int


class Truth(NamedTuple):
    """One annotated object."""

    masks: list[bytes | None]  # compressed counts of every frame
    area: float  # mean over the frames where `areas` (of the masks, if it names none) is neither 0 nor null, else 0
    crowd: bool
    occlusion: tuple[str | None, ...]  # OVIS: of every frame; empty where the file does not say
    id: int | None = None  # of the annotation; None where the file does not say


class Result(NamedTuple):
    """One entry of a results file."""

    video: int
    category: int
    score: float
    masks: list[bytes | None]  # compressed counts of every frame


class GroundTruth(NamedTuple):
    """An annotation file with ground truth."""

    categories: dict[int, str]  # id -> name, ids ascending
    videos: dict[int, Video]  # ids ascending
    truths: dict[Key, list[Truth]]


def read_ground_truth(source: Mapping[str, Any] | Path) -> GroundTruth:
    """Read an annotation file (or its parsed content).

    Raises Missing where the file is not there or holds no annotations, Integrity where it is malformed.
    """
    where = str(source) if isinstance(source, Path) else "the annotations given"
    content = load_json(source) if isinstance(source, Path) else source
    try:
        videos = {int(v["id"]): Video(int(v["height"]), int(v["width"]), _frames(v)) for v in content["videos"]}
        categories = {int(c["id"]): str(c.get("name", c["id"])) for c in content["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise Integrity(
            f"not a YouTube-VIS annotation file: {error!r}", where=where, fix="check the path of the annotations"
        ) from error
    annotations = content.get("annotations")
    if annotations is None:
        raise Missing(
            "the file carries no ground truth, so there is nothing to score against",
            where=where,
            fix="package the results for the server with `idolctl submit`, or score on a split with annotations",
        )
    truths: dict[Key, list[Truth]] = {}
    faults = Faults(where, "repair or download the annotation file again (`idolctl data check DATASET --deep`)")
    for annotation in annotations:
        _add_truth(truths, annotation, videos, categories, faults)
    faults.check()
    return GroundTruth(dict(sorted(categories.items())), dict(sorted(videos.items())), truths)


def read_results(source: Iterable[Mapping[str, Any]] | Path, truth: GroundTruth) -> Iterator[Result]:
    """Yield every result, streaming from a file. Integrity, after the last one, tells of all faults of known kinds."""
    where = str(source) if isinstance(source, Path) else "the results given"
    faults = Faults(where, "score the results against the annotations of the set that they were made for")
    for index, entry in enumerate(_items(source) if isinstance(source, Path) else source):
        result = _result(entry, index, truth, faults)
        if result is not None:
            yield result
    faults.check()


def _frames(video: Mapping[str, Any]) -> int:
    return len(video["file_names"]) if "file_names" in video else int(video["length"])


def _add_truth(
    truths: dict[Key, list[Truth]],
    annotation: Mapping[str, Any],
    videos: Mapping[int, Video],
    categories: Mapping[int, str],
    faults: Faults,
) -> None:
    name = f"annotation {annotation.get('id')}"
    video = videos.get(annotation.get("video_id", -1))
    if video is None:
        return faults.add("annotations of unknown videos", f"{name}, video_id {annotation.get('video_id')!r}")
    if annotation.get("category_id") not in categories:
        return faults.add("annotations of unknown categories", f"{name}, {annotation.get('category_id')!r}")
    masks = _masks(annotation.get("segmentations"), video, name, faults)
    if masks is None:
        return None
    areas = annotation.get("areas") or [None]
    if all(a is None for a in areas):
        areas = frame_areas(masks, video.height, video.width).tolist()
    seen = [a for a in areas if a]
    truth = Truth(
        masks=masks,
        area=math.fsum(seen) / len(seen) if seen else 0.0,
        crowd=bool(annotation.get("iscrowd", 0)),
        occlusion=tuple(annotation.get("occlusion") or ()),
        id=annotation.get("id"),
    )
    truths.setdefault((int(annotation["video_id"]), int(annotation["category_id"])), []).append(truth)
    return None


def _result(entry: Mapping[str, Any], index: int, truth: GroundTruth, faults: Faults) -> Result | None:
    name = f"result {index}"
    if not isinstance(entry, Mapping) or not {"video_id", "category_id", "score", "segmentations"} <= set(entry):
        faults.add("results without video_id, category_id, score and segmentations", name)
        return None
    video, category, score = entry["video_id"], entry["category_id"], entry["score"]
    if video not in truth.videos:
        known = f"{min(truth.videos)}..{max(truth.videos)}" if truth.videos else "none"
        faults.add("results for unknown videos", f"{name}, video_id {video!r}; known ids: {known}")
        return None
    if category not in truth.categories:
        known = f"{min(truth.categories)}..{max(truth.categories)}" if truth.categories else "none"
        faults.add("results for unknown categories", f"{name}, category_id {category!r}; known ids: {known}")
        return None
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
        faults.add("results whose score is not a finite number", f"{name}, score {score!r}")
        return None
    masks = _masks(entry["segmentations"], truth.videos[video], f"{name}, video {video}", faults)
    return None if masks is None else Result(int(video), int(category), float(score), masks)


def _masks(segmentations: Any, video: Video, name: str, faults: Faults) -> list[bytes | None] | None:
    if not isinstance(segmentations, list) or len(segmentations) != video.frames:
        count = len(segmentations) if isinstance(segmentations, list) else segmentations
        faults.add("wrong number of frames", f"{name}: {count} segmentations for {video.frames} frames")
        return None
    masks: list[bytes | None] = []
    try:
        for segmentation in segmentations:
            rle = from_annotation(segmentation, video.height, video.width)
            masks.append(None if rle is None else rle["counts"])
        check_counts([counts for counts in masks if counts is not None], video.height * video.width)
    except (Integrity, ValueError, TypeError) as error:
        faults.add("malformed masks", f"{name}: {error}")
        return None
    return masks


def _items(path: Path) -> Iterator[Any]:
    try:
        with open(path, "rb") as file:
            if not file.read(4096).lstrip().startswith(b"["):
                raise Integrity("not a list of results", where=str(path), fix="make the results again")
            file.seek(0)
            yield from ijson.items(file, "item", use_float=True)
    except FileNotFoundError as error:
        raise Missing("no such results file", where=str(path), fix="check the path") from error
    except (OSError, ijson.JSONError, UnicodeDecodeError) as error:
        raise Integrity(f"not readable as JSON: {error}", where=str(path), fix="make the results again") from error
