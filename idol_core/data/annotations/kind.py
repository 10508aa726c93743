"""Which format an annotation file is in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

from idol_core.data.annotations.json_stream import JsonStream
from idol_core.errors import Integrity


def annotation_kind(path: Path) -> Literal["coco", "vis"]:
    """vis where annotations have masks of a whole video, coco where of an image; else by what the file lists.

    A file may list both: sets of videos in COCO's form do. Raises Missing where there is no such file, Integrity where
    it is no JSON or has neither.
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
