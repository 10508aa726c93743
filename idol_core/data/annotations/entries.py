"""Entries that COCO and YouTube-VIS annotation files share: categories, and the fields of an annotation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from idol_core.data.annotations.index import IndexBuilder
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.annotations.rle import RLE
from idol_core.errors import Integrity


def categories_of(document: JsonStream) -> list[tuple[int, str]]:
    """(id, name) of every category of a COCO or YTVIS document."""
    where, entries = f"{document.path}:categories", document.value("categories")
    if not isinstance(entries, list) or not entries:
        raise Integrity("no categories", where=where, fix="use an annotation file with categories")
    try:
        found = [(int(c["id"]), str(c["name"])) for c in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise malformed(error, where) from None
    if len({number for number, _ in found}) < len(found):
        raise Integrity("two categories have the same id", where=where, fix="make the ids unique")
    return found


def malformed(error: Exception, where: str) -> Integrity:
    """What a missing or wrongly typed field of an annotation file is reported as."""
    what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
    return Integrity(what, where=where, fix="correct the annotation file, or download it again")


def add_annotation(
    builder: IndexBuilder,
    annotation: Any,
    path: Path,
    *,
    parent: str,
    masks_field: str,
    masks_of: Callable[[Any, int, int, int], list[RLE | None]],
) -> None:
    """Check an entry of `annotations` and add it as a track.

    Args:
        parent: "image" or "video": the entry names it as `<parent>_id`, the file lists them as `<parent>s`.
        masks_field: where the entry has its masks.
        masks_of: (that field, frames, height, width) -> a mask per frame; may raise ValueError and Integrity.
    """
    where = f"{path}:annotations"
    try:
        number = int(annotation["id"])
        where = f"{path}:annotations, id {number}"
        owner, category = int(annotation[f"{parent}_id"]), int(annotation["category_id"])
        field, crowd = annotation[masks_field], bool(annotation.get("iscrowd", 0))
        if owner not in builder.video_row:
            raise ValueError(f"{parent}_id {owner} is not in `{parent}s`")
        if category not in builder.category_row:
            raise ValueError(f"category_id {category} is not in `categories`")
        masks = masks_of(field, *builder.video(owner))
    except Integrity as error:
        raise malformed(ValueError(error.what), where) from None
    except (KeyError, TypeError, ValueError) as error:
        raise malformed(error, where) from None
    builder.add_track(number=number, video=owner, category=category, crowd=crowd, segmentations=masks)
