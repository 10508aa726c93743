"""A picture in tiles, as phones write HEIC: an AVIF file with a grid of pictures (ISO/IEC 23008-12)."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from PIL import Image


def write_tiled(path: Path, tiles: list[Image.Image]) -> None:
    """A file of one picture: the tiles, all of one size, side by side."""
    encoded = [_encoded(tile) for tile in tiles]
    width, height = tiles[0].size
    number = len(tiles)
    grid = bytes([0, 0, 0, number - 1]) + struct.pack(">HH", number * width, height)
    items = [content for content, _ in encoded] + [grid]
    properties = [_size(width, height), encoded[0][1], _size(number * width, height)]
    uses = b"".join(struct.pack(">HB", i, 2) + bytes([1, 0x82]) for i in range(1, number + 1))
    uses += struct.pack(">HB", number + 1, 1) + bytes([3])
    infos = b"".join(
        _box("infe", struct.pack(">HH4s", i, 0, b"av01" if i <= number else b"grid") + b"\0", version=2)
        for i in range(1, number + 2)
    )
    joins = struct.pack(f">HH{number}H", number + 1, number, *range(1, number + 1))
    head = _box("ftyp", b"avif\0\0\0\0avifmif1miaf", version=None)

    def meta(start: int) -> bytes:
        places = b""
        for i, item in enumerate(items, 1):
            places += struct.pack(">HHHII", i, 0, 1, start, len(item))
            start += len(item)
        parts = [
            _box("hdlr", bytes(4) + b"pict" + bytes(13)),
            _box("pitm", struct.pack(">H", number + 1)),
            _box("iloc", struct.pack(">BBH", 0x44, 0, number + 1) + places),
            _box("iinf", struct.pack(">H", number + 1) + infos),
            _box("iref", _box("dimg", joins, version=None)),
            _box(
                "iprp",
                _box("ipco", b"".join(properties), version=None) + _box("ipma", struct.pack(">I", number + 1) + uses),
                version=None,
            ),
        ]
        return _box("meta", b"".join(parts))

    start = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(start) + _box("mdat", b"".join(items), version=None))


def _box(kind: str, content: bytes, *, version: int | None = 0) -> bytes:
    content = content if version is None else bytes([version, 0, 0, 0]) + content
    return struct.pack(">I4s", 8 + len(content), kind.encode()) + content


def _size(width: int, height: int) -> bytes:
    return _box("ispe", struct.pack(">II", width, height))


def _encoded(picture: Image.Image) -> tuple[bytes, bytes]:
    """The coded picture, and the box that describes its coding."""
    file = io.BytesIO()
    picture.save(file, "AVIF")
    content = file.getvalue()
    coding = content.index(b"av1C") - 4
    data = content.index(b"mdat") - 4
    return content[data + 8 : data + _length(content, data)], content[coding : coding + _length(content, coding)]


def _length(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "big")
