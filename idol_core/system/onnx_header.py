"""Read the metadata of an ONNX file without loading its weights: as much of protobuf as this, and writing one, takes.

A ModelProto is a sequence of fields: a tag (field number * 8 + wire type), then a value. Field 14, `metadata_props`, is
an entry of a map of texts: field 1 is the key, field 2 the value. The graph, field 7, is skipped unread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_METADATA, _KEY, _VALUE = 14, 1, 2
_SEAL = b"sha256"  # key of the last entry: the hash of all that comes before it
_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_LARGEST = 16 << 20  # bytes of one entry; recipes take a few thousand


def onnx_metadata(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file. Raises ValueError if it isn't one, OSError if it can't be read."""
    found = {}
    size = path.stat().st_size
    with open(path, "rb") as file:
        for field, start, end in _fields(file, 0, size):
            if field == _METADATA:
                if end - start > _LARGEST:
                    raise ValueError("an entry of its metadata is too large")
                texts = {}
                for inner, first, last in _fields(file, start, end):
                    file.seek(first)
                    texts[inner] = file.read(last - first).decode("utf-8")
                found[texts.get(_KEY, "")] = texts.get(_VALUE, "")
                file.seek(end)
    return found


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, end) of every value between two places of the file."""
    place = start
    while place < end:
        file.seek(place)
        field, kind = divmod(_number(file), 8)
        if kind == _BYTES:
            length = _number(file)
            first = file.tell()
        elif kind == _NUMBER:
            first = file.tell()
            _number(file)
            length = file.tell() - first
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            first, length = file.tell(), 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("it is no ONNX file")
        place = first + length
        if place > end or not field:
            raise ValueError("it is no ONNX file, or cut short")
        yield field, first, place


def _number(file: BinaryIO) -> int:
    """Read a variable-length number: seven bits a byte, lowest first, the highest bit set on all but the last."""
    number = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            break
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
    raise ValueError("it is no ONNX file, or cut short")


def seal_onnx(path: Path) -> None:
    """Append an entry to the metadata with the hash of the file, which `onnx_is_sealed` compares."""
    with open(path, "r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, 2)
        file.write(_seal(digest))


def onnx_is_sealed(path: Path) -> bool:
    """Whether a file is still as `seal_onnx` left it."""
    left = path.stat().st_size - len(_seal("0" * 64))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
        return file.read() == _seal(digest.hexdigest())


def _seal(digest: str) -> bytes:
    value = digest.encode()
    entry = length_delimited(_KEY, len(_SEAL)) + _SEAL + length_delimited(_VALUE, len(value)) + value
    return length_delimited(_METADATA, len(entry)) + entry


def length_delimited(field: int, length: int) -> bytes:
    """What comes before a field's `length` bytes: its tag and the length, as variable-length numbers."""
    return _variable(field * 8 + _BYTES) + _variable(length)


def _variable(number: int) -> bytes:
    digits = []
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
