"""Stream large JSON files: COCO and YouTube-VIS documents (objects of long lists), and lists of results.

Only a window of the text and one decoded entry are in memory. Invalid JSON, excessive nesting and numbers of thousands
of digits raise Integrity with line and column.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from idol_core.errors import Integrity, Missing
from idol_core.system.stand_ins import refuse_stand_in

_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
_PIECE = 2 * 2**20  # bytes read at a time
_LARGEST = 2**30  # longest entry, in characters
_NEAR_END = 16  # characters; an error this close to the window's end may be due to the window, not the file
_MEND = "correct the file, or make or download it again"
_REPORTS = 100  # most progress reports per document
_END = object()

Progress = Callable[[int, int], None]  # (bytes read, bytes of the file)


class _Window:
    """The part of a UTF-8 text (with or without a byte order mark) that is being decoded."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.text, self.bytes, self._characters = "", 0, 0
        self._lines = self._column = 0  # position of the window's start in the file
        self._ended = False

    def more(self) -> bool:
        """Extend the window, at least doubling it. False at the end of the file."""
        if self._ended:
            return False
        if len(self.text) > _LARGEST:
            raise Integrity("one entry takes more than a gigabyte", where=self._name, fix=_MEND)
        data = self._file.read(max(_PIECE, len(self.text)))
        try:
            piece = self._decode(data, not data)
        except UnicodeDecodeError as error:
            utf16 = self.bytes == 0 and data[:2] in (b"\xff\xfe", b"\xfe\xff")
            told = "UTF-16 text, it must be UTF-8" if utf16 else f"not UTF-8 text: {error.reason}"
            where = f"{self._name}, byte {self.bytes + error.start}"
            raise Integrity(told, where=where, fix="save it as UTF-8" if utf16 else _MEND) from None
        self.text += piece
        self.bytes += len(data)
        self._characters += len(piece)
        self._ended = not data
        return not self._ended

    def passed(self, position: int) -> int:
        """Approximate number of bytes in the file before `position`."""
        return self.bytes - (len(self.text) - position) * self.bytes // max(self._characters, 1)

    def drop(self, position: int) -> int:
        """Discard the text before `position` if it is long enough; returns the new position of the same character."""
        if position < _PIECE:
            return position
        passed = self.text[:position]
        lines = passed.count("\n")
        self._column = position - passed.rfind("\n") - 1 if lines else self._column + position
        self._lines += lines
        self.text = self.text[position:]
        return 0

    def peek(self, position: int) -> tuple[str, int]:
        """The next non-whitespace character ("" at the end) and its position."""
        character = self.text[position : position + 1]
        if character > " ":
            return character, position
        while True:
            found = _SPACE.match(self.text, position)
            position = found.end() if found else position
            if position < len(self.text) or not self.more():
                return self.text[position : position + 1], position

    def expect(self, characters: str, position: int) -> tuple[str, int]:
        """Consume the next character, which must be one of `characters`; returns it and the position after it."""
        found, position = self.peek(position)
        if not found or found not in characters:
            wanted = " or ".join(f"'{c}'" for c in characters)
            raise self._error(f"{wanted} expected" + ("" if found else ", the file ends"), position)
        return found, position + 1

    def value(self, position: int) -> tuple[Any, int]:
        """Decode the next JSON value; returns it and the position after it."""
        _, position = self.peek(position)
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, position)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self.text) - _NEAR_END or error.msg.startswith("Unterminated string")
                if cut and self.more():
                    continue
                raise self._error(error.msg, error.pos) from None
            except RecursionError:
                raise self._error("nested too deeply", position) from None
            except ValueError:  # CPython's limit on the digits of an integer
                raise self._error("a number has thousands of digits", position) from None
            if end < len(self.text) or not self.more():  # a number may continue past the window
                return value, end

    def finish(self, position: int) -> None:
        """Raise Integrity unless the text ends here."""
        found, position = self.peek(position)
        if found:
            raise self._error("extra text after the end", position)

    def _error(self, what: str, position: int) -> Integrity:
        before = self.text[:position]
        lines = before.count("\n")
        column = position - before.rfind("\n") if lines else self._column + position + 1
        return Integrity(f"not JSON: {what}", where=f"{self._name}:{self._lines + lines + 1}:{column}", fix=_MEND)

    def elements(self, position: int) -> Iterator[tuple[Any, int]]:
        """Yield (element, position after it) of the list at `position`; finally (_END, position after the list)."""
        _, position = self.expect("[", position)
        if self.peek(position)[0] == "]":
            yield _END, self.expect("]", position)[1]
            return
        following = ","
        while following == ",":
            element, position = self.value(position)
            following, position = self.expect(",]", position)
            position = self.drop(position)
            yield element, position
        yield _END, position


class JsonStream:
    """A file that holds a JSON object whose values are mostly long lists."""

    def __init__(self, path: Path, *, on_read: Progress | None = None) -> None:
        """`on_read` is called from time to time with the progress of `walk`."""
        self.name, self._path, self._on_read, self._told = str(path), path, on_read, 0
        self._values: dict[str, Any] = {}

    def value(self, key: str) -> Any:
        """A top-level value that `walk` has already read, or None."""
        return self._values.get(key)

    def walk(self, large: str, *, after: set[str]) -> Generator[Any, None, None]:
        """Yield the elements of the top-level list `large`; `value` then already knows the keys in `after`.

        A missing or null `large` yields nothing. If `large` comes before one of `after`, the file is read twice.

        Raises:
            Missing: no such file.
            Integrity: the file is unreadable or no JSON object, or `large` is no list; `where` has line and column.
        """
        with open_json(self._path) as file:
            postponed = yield from self._pass(file, large, after)
            if postponed:
                self._told = 0
                file.seek(0)
                yield from self._pass(file, large, set())
        self._tell(self._size, self._size)

    def _pass(self, file: IO[bytes], large: str, after: set[str]) -> Generator[Any, None, bool]:
        """Read the file once; returns whether `large` came before a key in `after` and must be read again."""
        self._size = file.seek(0, 2)
        file.seek(0)
        window, postponed = _Window(file, self.name), False
        _, position = window.expect("{", 0)
        following = ","
        if window.peek(position)[0] == "}":
            following, position = window.expect("}", position)
        while following == ",":
            _, behind = window.expect('"', position)
            key, position = window.value(behind - 1)
            _, position = window.expect(":", position)
            if key == large and window.peek(position)[0] == "[":
                ready = after <= self._values.keys()
                postponed = postponed or not ready
                for element, end in window.elements(position):
                    position = end
                    if element is not _END:
                        self._tell(window.passed(position), self._size)
                        if ready:
                            yield element
            else:
                self._values[key], position = window.value(position)
                if key == large and self._values[key] is not None:
                    raise Integrity(f"`{large}` is not a list", where=self.name, fix=_MEND)
            following, position = window.expect(",}", window.drop(position))
        window.finish(position)
        return postponed

    def _tell(self, done: int, size: int) -> None:
        if self._on_read is not None and (done == size or done - self._told > size / _REPORTS):
            self._told = done
            self._on_read(done, size)


class JsonDocument:
    """JsonStream's interface for a document already in memory."""

    def __init__(self, content: Mapping[str, Any], name: str) -> None:
        self.name, self._content = name, content

    def value(self, key: str) -> Any:
        """A top-level value, or None."""
        return self._content.get(key)

    def walk(self, large: str, *, after: set[str]) -> Iterator[Any]:
        """Yield the elements of the list `large`; nothing if it is missing or null."""
        found = self._content.get(large)
        if not isinstance(found, list | None):
            raise Integrity(f"`{large}` is not a list", where=self.name, fix=_MEND)
        yield from found or ()


Document = JsonStream | JsonDocument


def json_list(file: IO[bytes], name: str, *, on_read: Callable[[int], None] | None = None) -> Iterator[Any]:
    """Yield the elements of a JSON list; `on_read` is called with the number of bytes read.

    Raises Integrity if the file is not a JSON list.
    """
    window = _Window(file, name)
    first, position = window.peek(0)
    if first and first != "[":
        raise Integrity("the file must contain a JSON list", where=name, fix=_MEND)
    passed, elements = 0, window.elements(position)
    while True:
        try:
            element, position = next(elements)
        except Integrity as error:
            error.where += f", entry {passed}"
            raise
        if element is _END:
            break
        if on_read is not None:
            on_read(window.passed(position))
        yield element
        passed += 1
    window.finish(position)


def open_json(path: Path) -> IO[bytes]:
    """Open a JSON file. Raises Missing if it does not exist, Integrity if it is empty, a web page, a Git LFS pointer or
    unreadable.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise Integrity("not a file, but a folder or a pipe", where=str(path), fix="name a file")
    try:
        refuse_stand_in(path)
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise Missing("file not found", where=str(path), fix="check the path") from None
    except OSError as error:
        raise Integrity(f"cannot be read: {error.strerror}", where=str(path), fix="check the file") from None
    return file
