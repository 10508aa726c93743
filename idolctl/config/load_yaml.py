"""Read YAML with line numbers: parsed mappings keep the file and line of every key.

A file's size, nesting depth and number of values (counting the copies that aliases make) are limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode

from idol_core.errors import InvalidInput, Missing

MAX_BYTES = 1 << 18
MAX_DEPTH = 40
MAX_VALUES = 20_000
MAX_DIGITS = 400


@dataclass(frozen=True)
class Origin:
    """Where a value was written; `line` counts from 1, and is None for the command line."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def key(self, name: str) -> str:
        """`file:line:key`, for the `where` line of an error."""
        return f"{self}:{name}"


class Derived(Origin):
    """What a value was derived from instead of being written; `file` says it in words ("120 frames of mine_train")."""


COMMAND_LINE = Origin("--set")


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a mapping; `value` is a plain Python value or a nested `Mapping`."""

    key: str
    value: Any
    origin: Origin


@dataclass(frozen=True)
class Mapping:
    """A YAML mapping; entries keep the order of the file."""

    entries: tuple[Entry, ...]
    origin: Origin

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def get(self, key: str) -> Entry | None:
        """The entry of that key, or None."""
        return next((e for e in self.entries if e.key == key), None)


def read_yaml(path: Path) -> Mapping:
    """Parse the YAML mapping in `path`. Raises Missing without the file, InvalidInput (with the line) if malformed."""
    file = shown_path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{file} has more than {MAX_BYTES >> 10} KiB", where=file, fix="name a file of settings")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Missing(f"no file {file}", where=file, fix="idolctl ls recipes") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} can't be read: {error}", where=file, fix="give a readable YAML file") from error
    try:
        parsed = _Reader(file).read(text)
    except YAMLError as error:
        mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
        what = error.problem if isinstance(error, MarkedYAMLError) else str(error).partition("\n")[0]
        where = f"{file}:{mark.line + 1}" if mark else file
        raise InvalidInput(f"not YAML: {what}", where=where, fix="correct the YAML at that line") from error
    if not isinstance(parsed, Mapping):
        raise InvalidInput(
            f"{file} holds no settings (a mapping is expected)", where=f"{file}:1", fix="idolctl show toy"
        )
    return parsed


def parse_value(text: str) -> Any:
    """Parse a value as YAML does: '3' -> 3, '2e-4' -> .0002, '[1, 2]' -> a list, 'no such' -> a string."""
    try:
        return _plain(_Reader(str(COMMAND_LINE)).read(text))
    except (YAMLError, InvalidInput):
        return text


def shown_path(path: Path) -> str:
    """`path` as shown in messages: relative to the working folder where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError, RuntimeError):
        return str(path)


@dataclass
class _Open:
    """A list or mapping still being read; in a mapping, `items` are entries and `key` has no value yet."""

    line: int
    anchor: str | None
    is_mapping: bool
    before: int  # number of values read before it began
    items: list[Any] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    merged: list[Mapping] = field(default_factory=list)
    key: tuple[str, int] | None = None


class _Reader:
    """Builds a document from the YAML parser's events, without recursion and within the limits above."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # complete values, and how many values each contains
        self._values = 0
        self._result: Any = None

    def read(self, text: str) -> Any:
        """Read the only document of `text`: a Mapping, a list (mappings inside are dicts) or a plain value."""
        yaml, documents = YAML(typ="safe", pure=True), 0
        for event in yaml.parse(text):
            line, kind = event.start_mark.line, type(event)
            if kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise self._refused("a second YAML document begins here; only one is allowed", line)
            elif kind in (MappingStartEvent, SequenceStartEvent):
                self._begin(event.anchor, line, is_mapping=kind is MappingStartEvent)
            elif kind in (MappingEndEvent, SequenceEndEvent):
                self._end()
            elif kind is AliasEvent:
                if event.anchor not in self._anchors:
                    raise self._refused(f"alias *{event.anchor} has no anchor that ends before it", line)
                value, size = self._anchors[event.anchor]
                self._count(size, line)
                self._add(value, line)
            elif kind is ScalarEvent:
                self._count(1, line)
                value = self._text(event.value, line) if self._key_is_next() else self._scalar(yaml, event, line)
                if event.anchor:
                    self._anchors[event.anchor] = value, 1
                self._add(value, line)
        return self._result

    def _begin(self, anchor: str | None, line: int, *, is_mapping: bool) -> None:
        if self._key_is_next():
            raise self._refused("a key must be text", line)
        if len(self._open) >= MAX_DEPTH:
            raise self._refused(f"nested more than {MAX_DEPTH} levels deep", line)
        self._anchors.pop(anchor or "", None)  # no alias may repeat a value that is still being read
        self._open.append(_Open(line, anchor, is_mapping, self._values))
        self._count(1, line)

    def _end(self) -> None:
        ended = self._open.pop()
        value: Any = ended.items
        if ended.is_mapping:
            merged = {e.key: e for other in reversed(ended.merged) for e in other if e.key not in ended.keys}
            value = Mapping((*merged.values(), *ended.items), Origin(self._file, ended.line + 1))
        if ended.anchor:
            self._anchors[ended.anchor] = value, self._values - ended.before
        self._add(value, ended.line)

    def _add(self, value: Any, line: int) -> None:
        """Add a complete value, or a key, to the innermost list or mapping being read."""
        if not self._open:
            self._result = value
            return
        place = self._open[-1]
        if not place.is_mapping:
            place.items.append(_plain(value))
        elif place.key is None:
            if not isinstance(value, str | int | float):
                raise self._refused("a key must be text", line)
            key = str(value)
            if key in place.keys and key != "<<":
                raise self._refused(f"the key '{key}' occurs twice", line)
            place.keys.add(key)
            place.key = key, line
        else:
            key, key_line = place.key
            place.key = None
            if key != "<<":
                place.items.append(Entry(key, value, Origin(self._file, key_line + 1)))
            elif isinstance(value, Mapping):
                place.merged.append(value)
            else:
                raise self._refused("'<<' must refer to a mapping", line)

    def _key_is_next(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and self._open[-1].key is None

    def _count(self, values: int, line: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._refused(f"more than {MAX_VALUES} values, counting those that aliases repeat", line)

    def _scalar(self, yaml: YAML, event: Any, line: int) -> Any:
        """A plain value; tags other than those of numbers and text are ignored."""
        text = self._text(event.value, line)
        tag = event.ctag or yaml.resolver.resolve(ScalarNode, text, event.implicit)
        kind = str(tag).removeprefix("tag:yaml.org,2002:")
        try:
            return _CONSTRUCTED.get(kind, str)(text)
        except ValueError:
            raise self._refused(f"'{text[:40]}' is not a valid {kind}", line) from None

    def _text(self, text: str, line: int) -> str:
        if re.search("[\ud800-\udfff]", text):
            raise self._refused("the text contains half of a surrogate pair, which is not a character", line)
        return text

    def _refused(self, what: str, line: int) -> InvalidInput:
        return InvalidInput(what, where=f"{self._file}:{line + 1}", fix="correct the YAML at that line")


def _integer(text: str) -> int:
    """Parse an integer of YAML 1.2 (12, -0o17, 0x1F); underscores between digits are allowed."""
    if len(text) > MAX_DIGITS:
        raise ValueError(text)
    return int(text.replace("_", ""), 0 if re.match("[-+]?0[xob]", text) else 10)


def _float(text: str) -> float:
    plain = text.replace("_", "").lower()
    return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", plain))


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_CONSTRUCTED = {"int": _integer, "float": _float, "bool": _boolean, "null": lambda _: None}


def _plain(value: Any) -> Any:
    """Convert mappings to dicts."""
    return {e.key: _plain(e.value) for e in value} if isinstance(value, Mapping) else value
