"""Detect the format of an annotation file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

from idol_core.data.annotations.json_stream import JsonStream
from idol_core.errors import Integrity


def annotation_kind(path: Path) -> Literal["coco", "vis"]:
    """Detect the format: "vis" if annotations have masks per video, "coco" if per image; without any, by its lists.

    A file may have both `videos` and `images` (video sets in COCO format do). Raises Missing if there is no such file,
    Integrity if it is not JSON or has neither list.
    """
    document = JsonStream(path)
    with closing(document.walk("annotations", after=set())) as annotations:
        first = next(annotations, None)
    if isinstance(first, Mapping) and ("segmentations" in first or "image_id" in first):
        return "vis" if "segmentations" in first else "coco"
    listed = [key for key in ("videos", "images") if document.value(key)] or [
        key for key in ("videos", "images") if document.value(key) is not None
    ]
    if listed:
        return "vis" if listed[0] == "videos" else "coco"
    if isinstance(first, Mapping) and "video_id" in first:
        return "vis"
    raise Integrity("the file lists neither videos nor images", where=str(path),
                    fix="give a YouTube-VIS or COCO instances file")  # fmt: skip
