"""YAML with line numbers: parsed mappings that remember where each key stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from idol_core.errors import InvalidInput, Missing


@dataclass(frozen=True)
class Origin:
    """Where a value was written: `line` counts from 1; None for the command line."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def key(self, name: str) -> str:
        """`file:line:key` of an error."""
        return f"{self}:{name}"


COMMAND_LINE = Origin("--set")


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a mapping; `value` is a plain Python value or a `Mapping` to go into."""

    key: str
    value: Any
    origin: Origin


@dataclass(frozen=True)
class Mapping:
    """A YAML mapping in the order it was written."""

    entries: tuple[Entry, ...]
    origin: Origin

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def get(self, key: str) -> Entry | None:
        """The entry of that key, if it is there."""
        return next((e for e in self.entries if e.key == key), None)


def read_yaml(path: Path) -> Mapping:
    """Parse the mapping in `path`. Raises Missing if it is not there, InvalidInput (with its line) if it is none."""
    file = shown_path(path)
    try:
        parsed = _loader().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Missing(f"no file {file}", where=file, fix="idolctl ls recipes") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} can't be read: {error}", where=file, fix="give a readable YAML file") from error
    except YAMLError as error:
        mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
        what = error.problem if isinstance(error, MarkedYAMLError) else str(error)
        where = f"{file}:{mark.line + 1}" if mark else file
        raise InvalidInput(f"not YAML: {what}", where=where, fix="correct the YAML at that line") from error
    if not isinstance(parsed, CommentedMap):
        raise InvalidInput(
            f"{file} holds no settings (a mapping is expected)", where=f"{file}:1", fix="idolctl show toy"
        )
    return _mapping(parsed, file, 0)


def parse_value(text: str) -> Any:
    """A value as YAML would read it: '3' -> 3, '2e-4' -> .0002, '[1, 2]' -> a list, 'no such' -> a string."""
    try:
        return _plain(_loader().load(text))
    except YAMLError:
        return text


def shown_path(path: Path) -> str:
    """Relative to the working folder where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _loader() -> YAML:
    return YAML(typ="rt", pure=True)


def _mapping(node: CommentedMap, file: str, line: int) -> Mapping:
    entries = []
    for key, value in node.items():
        key_line = node.lc.data[key][0] if key in (node.lc.data or {}) else line
        inner = _mapping(value, file, key_line) if isinstance(value, CommentedMap) else _plain(value)
        entries.append(Entry(str(key), inner, Origin(file, key_line + 1)))
    return Mapping(tuple(entries), Origin(file, line + 1))


def _plain(value: Any) -> Any:
    """Strip ruamel's types, which remember how a number or a text was written."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)
