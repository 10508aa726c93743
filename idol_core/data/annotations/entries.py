"""Parse what COCO and YouTube-VIS annotation files have in common: categories, annotations, error locations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from idol_core.data.annotations import fields
from idol_core.data.annotations.index import MEND, IndexBuilder, TrackEntry
from idol_core.data.annotations.json_stream import Document
from idol_core.errors import Integrity

Box = tuple[float, ...]  # x, y, width, height in pixels
_FAR = 1e9  # pixels


@contextmanager
def told_of(where: str) -> Iterator[None]:
    """Context that turns a ValueError into an Integrity error naming the entry."""
    try:
        yield
    except ValueError as error:
        raise Integrity(str(error), where=where, fix=MEND) from None


def categories_of(document: Document) -> list[tuple[int, str]]:
    """Read (id, name) of every category. A category without a name gets its id as name."""
    entries = document.value("categories")
    if not isinstance(entries, list) or not entries:
        where = f"{document.name}:categories"
        raise Integrity("no categories", where=where, fix="use an annotation file with categories")
    found: dict[int, str] = {}
    for row, value in enumerate(entries):
        with told_of(f"{document.name}:categories[{row}]"):
            entry = fields.entry_of(value)
            number, name = fields.integer(entry, "id"), entry.get("name")
            if number in found:
                raise ValueError(f"two categories have the same id {number}")
            found[number] = str(number) if name is None else fields.as_text(name, "name")
    return list(found.items())


def items_of(document: Document, key: str, known: Collection[int]) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Yield (id, entry, location) for the list `images` or `videos`; ids must not be in `known` yet."""
    entries = document.value(key)
    if not isinstance(entries, list):
        where = f"{document.name}:{key}"
        raise Integrity(f"there is no list `{key}`", where=where, fix="use an annotation file of the right format")
    for row, value in enumerate(entries):
        where = f"{document.name}:{key}[{row}]"
        with told_of(where):
            entry = fields.entry_of(value)
            number = fields.integer(entry, "id")
            if number in known:
                raise ValueError(f"{key.removesuffix('s')} id {number} occurs twice")
        yield number, entry, where


def add_annotation(
    builder: IndexBuilder,
    value: Any,
    where: str,
    *,
    parent: str,
    read: Callable[[Mapping[str, Any], int, int, int], TrackEntry],
) -> None:
    """Check an entry of `annotations` and add it as a track.

    Args:
        where: the list and the entry's index in it, used in errors until the id is known.
        parent: "image" or "video"; the entry refers to it by `<parent>_id`, the file lists them under `<parent>s`.
        read: parses (entry, frames, height, width); may raise ValueError.
    """
    try:
        entry = fields.entry_of(value)
        number = fields.integer(entry, "id")
        where = f"{where.partition('[')[0]}, id {number}"
        owner, category = fields.integer(entry, f"{parent}_id"), fields.integer(entry, "category_id")
        if owner not in builder.video_row:
            raise ValueError(f"{parent}_id {owner} is not in `{parent}s`")
        if category not in builder.category_row:
            raise ValueError(f"category_id {category} is not in `categories`")
        found = read(entry, *builder.video(owner))
        builder.add_track(number, owner, category, found)
    except ValueError as error:
        raise Integrity(str(error), where=where, fix=MEND) from None


def box_of(value: Any) -> Box | None:
    """Parse the `bbox` of an entry; None (ignored) unless it is four finite numbers."""
    if not isinstance(value, list) or len(value) != 4 or not fields.NUMBERS.issuperset(map(type, value)):
        return None
    return tuple(value) if all(-_FAR < v < _FAR for v in value) else None
