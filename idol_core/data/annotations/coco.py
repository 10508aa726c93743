"""COCO instance annotation files, read as videos of one frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from idol_core.data.annotations import rle
from idol_core.data.annotations.entries import add_annotation, categories_of, malformed
from idol_core.data.annotations.index import AnnotationIndex, IndexBuilder
from idol_core.data.annotations.json_stream import JsonStream, Progress
from idol_core.errors import Integrity


def read_coco(path: Path, *, on_read: Progress | None = None) -> AnnotationIndex:
    """Read a COCO instances file: polygons, compressed or plain RLE, crowds; `annotations` may be absent or null.

    Raises:
        Missing: no such file.
        Integrity: not JSON, or a field is missing or contradicts another; `where` names the entry.
    """
    document = JsonStream(path, on_read=on_read)
    builder: IndexBuilder | None = None
    for annotation in document.walk("annotations", after={"images", "categories"}):
        builder = builder or _images(document)
        add_annotation(builder, annotation, path, parent="image", masks_field="segmentation", masks_of=_masks)
    return (builder or _images(document)).finish()


def _images(document: JsonStream) -> IndexBuilder:
    builder = IndexBuilder(categories_of(document))
    images = document.value("images")
    if not isinstance(images, list):
        raise Integrity("no list of images", where=f"{document.path}:images", fix="use a COCO instances file")
    for row, image in enumerate(images):
        where = f"{document.path}:images[{row}]"
        try:
            number, name = int(image["id"]), str(image["file_name"])
            height, width = int(image["height"]), int(image["width"])
        except (KeyError, TypeError, ValueError) as error:
            raise malformed(error, where) from None
        if number in builder.video_row:
            raise Integrity(f"image id {number} occurs twice", where=where, fix="make the ids unique")
        builder.add_video(number, height, width, [name])
    return builder


def _masks(segmentation: Any, _frames: int, height: int, width: int) -> list[rle.RLE | None]:
    return [rle.from_annotation(segmentation, height, width)]
