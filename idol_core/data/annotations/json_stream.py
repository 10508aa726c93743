"""Reads the large JSON documents of COCO and YTVIS: in memory are the text and one annotation at a time."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from idol_core.errors import Integrity, Missing

_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
_MEND = "download the annotation file again"
_REPORTS = 100  # of the reading of a document, at most

Progress = Callable[[int, int], None]  # (bytes passed, bytes of the file)


class JsonStream:
    """A JSON object whose values are mostly long lists."""

    def __init__(self, path: Path, *, on_read: Progress | None = None) -> None:
        """Read the text. `on_read` hears, now and then, how far `walk` is.

        Raises:
            Missing: no such file.
            Integrity: empty, unreadable or not UTF-8.
        """
        self.path, self._on_read, self._told = path, on_read, 0
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                self._text, self._bytes = str(data, "utf-8"), len(data)
        except FileNotFoundError:
            raise Missing(
                "annotation file not found", where=str(path), fix="name an existing file as `annotations`"
            ) from None
        except UnicodeDecodeError as error:
            raise Integrity(
                f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path), fix=_MEND
            ) from None
        except ValueError:
            raise Integrity("the file is empty", where=str(path), fix=_MEND) from None
        except OSError as error:
            raise Integrity(f"cannot be read: {error.strerror}", where=str(path), fix="check the file") from None
        self._values: dict[str, Any] = {}

    def value(self, key: str) -> Any:
        """A top-level value that `walk` has passed, or None."""
        return self._values.get(key)

    def walk(self, large: str, *, after: set[str]) -> Iterator[Any]:
        """Elements of the top-level list `large`, one at a time, once `value` knows the keys `after`.

        A missing or null `large` gives nothing. Where it stands before one of `after`, the text is passed over twice.

        Raises:
            Integrity: not a JSON object; `where` has line and column.
        """
        try:
            yield from self._walk(large, after)
        except json.JSONDecodeError as error:
            raise Integrity(
                f"not JSON: {error.msg}", where=f"{self.path}:{error.lineno}:{error.colno}", fix=_MEND
            ) from None

    def _walk(self, large: str, after: set[str]) -> Iterator[Any]:
        postponed = None
        position = self._expect("{", self._skip(0))
        while self._text[position : position + 1] != "}":
            key, position = _DECODER.raw_decode(self._text, position)
            position = self._expect(":", self._skip(position))
            if key == large and self._text[position : position + 1] == "[":
                ready = after <= self._values.keys()
                postponed = None if ready else position
                for element, end in self._list(position):
                    position = end
                    if ready and element is not _END:
                        yield element
            else:
                self._values[key], position = _DECODER.raw_decode(self._text, position)
            position = self._skip(position)
            if self._text[position : position + 1] == ",":
                position = self._skip(position + 1)
            elif self._text[position : position + 1] != "}":
                raise json.JSONDecodeError("',' or '}' expected", self._text, position)
        if postponed is not None:
            self._told = 0
            yield from (element for element, _ in self._list(postponed) if element is not _END)
        self._tell(len(self._text))

    def _list(self, position: int) -> Iterator[tuple[Any, int]]:
        """Elements of the list at `position` with the position behind each; last comes (_END, behind the list)."""
        position = self._expect("[", position)
        while self._text[position : position + 1] != "]":
            element, position = _DECODER.raw_decode(self._text, position)
            self._tell(position)
            yield element, position
            position = self._skip(position)
            if self._text[position : position + 1] == ",":
                position = self._skip(position + 1)
            elif self._text[position : position + 1] != "]":
                raise json.JSONDecodeError("',' or ']' expected", self._text, position)
        yield _END, position + 1

    def _tell(self, position: int) -> None:
        """Report the position in the text, in proportion as bytes, if it is some way on from the last time."""
        length = len(self._text)
        if self._on_read is not None and (position == length or position - self._told > length / _REPORTS):
            self._told = position
            self._on_read(self._bytes * position // length, self._bytes)

    def _skip(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return found.end() if found else position

    def _expect(self, character: str, position: int) -> int:
        if self._text[position : position + 1] != character:
            raise json.JSONDecodeError(f"{character!r} expected", self._text, position)
        return self._skip(position + 1)


_END = object()
