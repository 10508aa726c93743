"""YouTube-VIS annotation files (also OVIS's): a segmentation per track and frame, null where the object is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from idol_core.data.annotations import rle
from idol_core.data.annotations.entries import add_annotation, categories_of, malformed
from idol_core.data.annotations.index import AnnotationIndex, IndexBuilder
from idol_core.data.annotations.json_stream import JsonStream, Progress
from idol_core.errors import Integrity


def read_vis(path: Path, *, on_read: Progress | None = None) -> AnnotationIndex:
    """Read a YTVIS annotation file. Validation files without `annotations`, or with null, give videos without tracks.

    Raises:
        Missing: no such file.
        Integrity: not JSON, or a field is missing or contradicts another; `where` names the entry.
    """
    document = JsonStream(path, on_read=on_read)
    builder: IndexBuilder | None = None
    for annotation in document.walk("annotations", after={"videos", "categories"}):
        builder = builder or _videos(document)
        add_annotation(builder, annotation, path, parent="video", masks_field="segmentations", masks_of=_masks)
    return (builder or _videos(document)).finish()


def _videos(document: JsonStream) -> IndexBuilder:
    builder = IndexBuilder(categories_of(document))
    videos = document.value("videos")
    if not isinstance(videos, list):
        raise Integrity("no list of videos", where=f"{document.path}:videos", fix="use a YouTube-VIS annotation file")
    for row, video in enumerate(videos):
        where = f"{document.path}:videos[{row}]"
        try:
            number, names = int(video["id"]), [str(name) for name in video["file_names"]]
            height, width = int(video["height"]), int(video["width"])
        except (KeyError, TypeError, ValueError) as error:
            raise malformed(error, where) from None
        if number in builder.video_row:
            raise Integrity(f"video id {number} occurs twice", where=where, fix="make the ids unique")
        if not names:
            raise Integrity(f"video {number} has no frames", where=where, fix="remove the video from the file")
        builder.add_video(number, height, width, names)
    return builder


def _masks(segmentations: Any, length: int, height: int, width: int) -> list[rle.RLE | None]:
    if len(segmentations) != length:
        raise ValueError(f"{len(segmentations)} segmentations for a video of {length} frames")
    return [rle.from_annotation(segmentation, height, width) for segmentation in segmentations]
