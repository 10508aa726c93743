"""The text form of MOTS: a line per object and frame, `frame id class height width rle`.

The rle is COCO's compressed one; ids are unique in a clip, 10000 (class 10) is a region to ignore.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from idol_core.data.annotations.entries import told_of
from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.labels import checked_size, read_mask
from idol_core.errors import Integrity

LAST_FRAME = 999_999  # frame numbers have six digits
_LINE = re.compile(rb"(\d{1,6}) (\d{1,9}) (\d{1,3}) (\d{1,5}) (\d{1,5}) ([0-o]+)\s*")
_MOST_BYTES = 1 << 30
_MOST_BEGINNING = 1 << 24  # bytes of a first line that is looked at


class Line(NamedTuple):
    """A mask of an object in a frame."""

    frame: int
    id: int
    category: int
    size: tuple[int, int]  # height, width
    mask: RLE
    where: str  # file and line


def first_frame(path: Path) -> int | None:
    """Frame number of the first line of a text file; None if that is no line of MOTS."""
    with open(path, "rb") as file:
        for line in iter(lambda: file.readline(_MOST_BEGINNING), b""):
            if line.strip():
                found = _LINE.fullmatch(line.removeprefix(BOM_UTF8))
                return int(found[1]) if found else None
    return None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file. Raises Integrity, naming the line, for a malformed one, or a file of over 1 GiB."""
    if path.stat().st_size > _MOST_BYTES:
        raise Integrity("a text file of over 1 GiB", where=str(path), fix="write a file per clip")
    with open(path, "rb") as file:
        for row, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}:{row}"
            with told_of(where):
                found = _LINE.fullmatch(line.removeprefix(BOM_UTF8) if row == 1 else line)
                if found is None:
                    raise ValueError("not `frame id class height width rle`, with single spaces between them")
                frame, identity, category, height, width = (int(word) for word in found.groups()[:5])
                size = checked_size(height, width)
                mask = read_mask({"size": list(size), "counts": found[6].decode("ascii")}, *size)
                assert isinstance(mask, dict)
                yield Line(frame, identity, category, size, mask, where)


def write_lines(lines: Iterable[tuple[int, int, int, RLE]], path: Path) -> None:
    """Write lines of (frame, id, class, mask)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for frame, identity, category, mask in lines:
            height, width = mask["size"]
            file.write(f"{frame} {identity} {category} {height} {width} {mask['counts'].decode('ascii')}\n")
