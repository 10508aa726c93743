"""Read COCO instance annotation files; an image becomes a video of one frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import add_annotation, box_of, categories_of, items_of, told_of
from idol_core.data.annotations.index import AnnotationIndex, IndexBuilder, TrackEntry
from idol_core.data.annotations.json_stream import Document, JsonStream, Progress
from idol_core.data.annotations.segmentation import read_segmentation


def read_coco(source: Path | Document, *, on_read: Progress | None = None) -> AnnotationIndex:
    """Read a COCO instances file: polygons, compressed or plain RLE, crowds; `annotations` may be absent or null.

    `file_name` may be absent (the names are empty then), as scoring needs none.

    Raises:
        Missing: no such file.
        Integrity: not JSON, or a field is missing, malformed or contradicts another; `where` names the entry.
    """
    document = JsonStream(source, on_read=on_read) if isinstance(source, Path) else source
    builder: IndexBuilder | None = None
    for row, annotation in enumerate(document.walk("annotations", after={"images", "categories"})):
        builder = builder or _images(document)
        add_annotation(builder, annotation, f"{document.name}:annotations[{row}]", parent="image", read=_entry)
    return (builder or _images(document)).finish()


def _images(document: Document) -> IndexBuilder:
    builder = IndexBuilder(categories_of(document), name=document.name)
    for number, image, where in items_of(document, "images", builder.video_row):
        with told_of(where):
            name = fields.text(image, "file_name") if image.get("file_name") is not None else ""
            builder.add_video(number, *fields.size(image), [name])
    return builder


def _entry(entry: Mapping[str, Any], _frames: int, height: int, width: int) -> TrackEntry:
    area = fields.number(entry.get("area"))
    return TrackEntry(
        masks=[read_segmentation(entry.get("segmentation"), height, width)],
        crowd=fields.crowd(entry),
        area=area if area is not None and area > 0 else math.nan,
        boxes=[box_of(entry.get("bbox"))],
    )
