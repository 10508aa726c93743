"""Read a detectron2 YAML configuration with its `_BASE_` files and overrides; every value keeps its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idol_core.errors import IdolError, InvalidInput
from idol_core.yacs import FIELDS, FOREIGN_SECTIONS, defaults, parse_text
from idol_core.yacs.translate import coerced
from idolctl.config.load_yaml import Entry, Mapping, Origin, read_yaml, shown_path
from idolctl.errors import nearest, suggestion

BASE = "_BASE_"
MAX_BASES = 100  # `_BASE_` entries in a file and its bases, counting repetitions
_COMMAND_LINE = Origin("command line")


@dataclass
class ConfigFile:
    """A file merged with its bases: places of the `given` keys, and the complete `config` with defaults."""

    path: Path
    given: dict[str, Origin] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=defaults)
    mistakes: list[IdolError] = field(default_factory=list)

    def where(self, key: str) -> str:
        """`file:line:key` of a setting; for a key that is not set, the main file."""
        return self.given.get(key, Origin(shown_path(self.path))).key(key)


def read_config_file(path: Path, overrides: Sequence[str] = ()) -> ConfigFile:
    """Read a file on top of its `_BASE_` files, then apply `overrides` (KEY VALUE KEY VALUE ...).

    Unknown keys and values of the wrong type are reported in `mistakes`. Raises InvalidInput if a file is missing or
    not valid YAML, or an override has no value.
    """
    if len(overrides) % 2:
        raise InvalidInput(
            f"'{overrides[-1]}' has no value",
            where="command line",
            fix="give pairs: SOLVER.BASE_LR 1e-4 SOLVER.MAX_ITER 900",
        )
    found = ConfigFile(path)
    if not path.is_file():
        raise InvalidInput(f"no configuration file {shown_path(path)}", where=str(path), fix="check the path")
    for entry in _Files(found.mistakes).entries(path.resolve()).values():
        _put(found, entry)
    for key, text in zip(overrides[::2], overrides[1::2], strict=True):
        _put(found, Entry(key, text.strip(), _COMMAND_LINE))
    return found


_Entries = dict[tuple[str, str], Entry]  # by key and place; later entries win


@dataclass
class _Files:
    """A file and all its bases; each is read once, however often it is named."""

    mistakes: list[IdolError]
    read: dict[Path, _Entries | None] = field(default_factory=dict)  # None: its bases are still being read
    named: int = 0

    def entries(self, path: Path) -> _Entries:
        """Entries of the bases, then of the file itself; for a key given twice, the later one wins."""
        found: _Entries = {}
        self.read[path] = None
        mapping = read_yaml(path)
        base = mapping.get(BASE)
        for name in _names(base):
            self.named += 1
            if self.named > MAX_BASES:
                what = f"{BASE} names more than {MAX_BASES} files, those named by base files included"
                raise InvalidInput(what, where=str(path), fix="use fewer base files")
            inner = _beside(path, name)
            if inner is None or (inner in self.read and self.read[inner] is None):
                problem = "does not exist" if inner is None else "is itself based on this file"
                what, where = f"{BASE} names {name}, which {problem}", base.origin.key(BASE) if base else ""
                self.mistakes.append(InvalidInput(what, where=where, fix="give a file's path, relative to this one"))
                continue
            there = self.read.get(inner)
            for place, entry in (self.entries(inner) if there is None else there).items():
                found.pop(place, None)
                found[place] = entry
        found |= {(e.key, str(e.origin)): e for e in _leaves(mapping, "") if e.key != BASE}
        self.read[path] = found
        return found


def _names(base: Entry | None) -> list[str]:
    if base is None:
        return []
    return [str(name) for name in base.value] if isinstance(base.value, list) else [str(base.value)]


def _beside(path: Path, name: str) -> Path | None:
    with suppress(OSError, RuntimeError):  # a name that is too long, or ~USER for an unknown user
        base = path.parent / Path(name).expanduser()
        return base.resolve() if base.is_file() else None
    return None


def _leaves(mapping: Mapping, prefix: str) -> Iterator[Entry]:
    for entry in mapping:
        key = prefix + entry.key
        if isinstance(entry.value, Mapping):
            yield from _leaves(entry.value, f"{key}.")
        else:
            yield Entry(key, entry.value, entry.origin)


def _put(found: ConfigFile, entry: Entry) -> None:
    key, where = entry.key, entry.origin.key(entry.key)
    if key.startswith(FOREIGN_SECTIONS):
        return
    if key not in FIELDS:
        below = [name for name in FIELDS if name.startswith(f"{key}.")]
        if not below:
            found.mistakes.append(InvalidInput(f"unknown key '{key}'", where=where, fix=_known(key)))
        elif entry.value is not None:
            what = f"'{key}' is {entry.value!r}, but must be a section of settings"
            found.mistakes.append(InvalidInput(what, where=where, fix=f"write settings below it, such as {below[0]}"))
        return
    value = parse_text(entry.value)
    try:
        found.config[key] = coerced(key, value)
    except ValueError as error:
        fix = f"give a value such as {FIELDS[key].default!r}"
        found.mistakes.append(InvalidInput(f"'{key}' is {value!r}; {error}", where=where, fix=fix))
        return
    found.given[key] = entry.origin


def _known(key: str) -> str:
    close = nearest(key, FIELDS)
    if close:
        return f"did you mean '{close}'?"
    section = key.rpartition(".")[0]
    prefix = f"{section}." if any(name.startswith(f"{section}.") for name in FIELDS) else ""
    return suggestion(
        key, {prefix + name.removeprefix(prefix).split(".")[0] for name in FIELDS if name.startswith(prefix)}
    )
