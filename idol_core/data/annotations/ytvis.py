"""Read YouTube-VIS and OVIS annotation files: a mask per track and frame, null where the object is absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import add_annotation, box_of, categories_of, items_of, told_of
from idol_core.data.annotations.index import AnnotationIndex, IndexBuilder, TrackEntry
from idol_core.data.annotations.json_stream import Document, JsonStream, Progress
from idol_core.data.annotations.segmentation import Read, read_segmentation

_MOST_FRAMES = 2**20  # limit for a video that gives only its length


def read_vis(source: Path | Document, *, on_read: Progress | None = None) -> AnnotationIndex:
    """Read a YTVIS annotation file. Validation files without `annotations`, or with null, give videos without tracks.

    A video may have `length` instead of `file_names` (the names are empty then), as scoring needs none.

    Raises:
        Missing: no such file.
        Integrity: not JSON, or a field is missing, malformed or contradicts another; `where` names the entry.
    """
    document = JsonStream(source, on_read=on_read) if isinstance(source, Path) else source
    builder: IndexBuilder | None = None
    for row, annotation in enumerate(document.walk("annotations", after={"videos", "categories"})):
        builder = builder or _videos(document)
        add_annotation(builder, annotation, f"{document.name}:annotations[{row}]", parent="video", read=_entry)
    return (builder or _videos(document)).finish()


def _videos(document: Document) -> IndexBuilder:
    builder = IndexBuilder(categories_of(document), name=document.name)
    for number, video, where in items_of(document, "videos", builder.video_row):
        with told_of(where):
            builder.add_video(number, *fields.size(video), _names(video, number))
    return builder


def _names(video: Mapping[str, Any], number: int) -> list[str]:
    names = video.get("file_names")
    if names is None and "length" in video:
        length = fields.integer(video, "length")
        if not 0 < length <= _MOST_FRAMES:
            raise ValueError(f"video {number} has a length of {length}")
        return [""] * length
    if names is None:
        raise ValueError("field 'file_names' is missing")
    if not isinstance(names, list):
        raise ValueError(f"file_names {fields.shown(names)} is not a list")
    if not names:
        raise ValueError(f"video {number} has no frames")
    return [fields.as_text(name, "file_names") for name in names]


def _entry(entry: Mapping[str, Any], frames: int, height: int, width: int) -> TrackEntry:
    if "segmentations" not in entry:
        raise ValueError("field 'segmentations' is missing")
    segmentations = entry["segmentations"]
    if not isinstance(segmentations, list):
        raise ValueError(f"segmentations {fields.shown(segmentations)} is not a list with one entry per frame")
    if len(segmentations) != frames:
        raise ValueError(f"{len(segmentations)} segmentations for a video of {frames} frames")
    return TrackEntry(
        masks=[_mask(segmentation, t, height, width) for t, segmentation in enumerate(segmentations)],
        crowd=fields.crowd(entry),
        area=_mean_area(entry.get("areas")),
        boxes=_per_frame(entry.get("bboxes"), frames),
        occlusion=_levels(entry.get("occlusion"), frames),
    )


def _mask(segmentation: Any, t: int, height: int, width: int) -> Read:
    try:
        return read_segmentation(segmentation, height, width)
    except ValueError as error:
        raise ValueError(f"frame {t}: {error}") from None


def _mean_area(areas: Any) -> float:
    """Mean area as in the official evaluation: over frames where `areas` is neither 0 nor null; NaN without any."""
    found = [fields.number(area) for area in areas] if isinstance(areas, list) else []
    named = [area for area in found if area is not None]
    seen = [area for area in named if area]
    return math.fsum(seen) / len(seen) if seen else 0.0 if named else math.nan


def _per_frame(boxes: Any, frames: int) -> list[tuple[float, ...] | None] | None:
    if not isinstance(boxes, list) or len(boxes) != frames:
        return None
    found = [box_of(box) for box in boxes]
    return found if any(found) else None


def _levels(occlusion: Any, frames: int) -> tuple[str | None, ...]:
    if not isinstance(occlusion, list) or not all(isinstance(level, str | None) for level in occlusion):
        return ()  # an unrelated field of the same name
    if occlusion and len(occlusion) != frames:
        raise ValueError(f"{len(occlusion)} levels of occlusion for a video of {frames} frames")
    return tuple(level if level is None else fields.as_text(level, "occlusion") for level in occlusion)
