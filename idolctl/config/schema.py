"""Settings a recipe may contain: the fields of idol_core's frozen config dataclasses, found by introspection.

No field is defined again here; idol_core checks the values. Settings are kept flat, one `Value` per dotted path of
StageConfig, so that layers can override each other while each value keeps the file and line it comes from.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from idol_core import config
from idol_core.config import StageConfig, read_stage
from idol_core.errors import IdolError, InvalidInput
from idolctl.config.load_yaml import Entry, Mapping, Origin
from idolctl.errors import suggestion

Path = tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """A setting's value, where it was written, and its full key there (`steps.3.solver.lr`)."""

    value: Any
    origin: Origin
    name: str

    @property
    def where(self) -> str:
        """`file:line:key`."""
        return self.origin.key(self.name)


Settings = dict[Path, Value]


def section_names() -> frozenset[str]:
    """The top-level keys of settings: model, loss, tracker, input, data, solver, init."""
    return frozenset(_fields(StageConfig)) - {"recipe", "backbone", "step"}


def flatten(entry: Entry, prefix: str, settings: Settings, mistakes: list[IdolError]) -> None:
    """Add all settings of one section to `settings`; report unknown keys, with the nearest known one, in `mistakes`."""
    _walk(entry, (entry.key,), _fields(StageConfig)[entry.key], prefix, settings, mistakes)


RENAMED = {
    "batch": "batch_size",
    "normalise": "normalize",
    "colour": "color",
    "select_score": "select_threshold",
    "match_score": "match_threshold",
    "new_score": "new_threshold",
    "init_score": "init_threshold",
}  # old keys of renamed settings, and their new names


def unknown_key(entry: Entry, name: str, known: AbstractMapping[str, Any] | frozenset[str] | set[str]) -> InvalidInput:
    """The error for an unknown key; for a renamed one it gives the new name."""
    if RENAMED.get(entry.key) in known:
        what, fix = f"'{name}' is called '{RENAMED[entry.key]}' now", f"write {RENAMED[entry.key]}"
        return InvalidInput(what, where=entry.origin.key(name), fix=fix)
    return InvalidInput(f"unknown key '{name}'", where=entry.origin.key(name), fix=suggestion(entry.key, known))


def _walk(entry: Entry, path: Path, kind: Any, prefix: str, settings: Settings, mistakes: list[IdolError]) -> None:
    name = ".".join((prefix, *path) if prefix else path)
    classes = _classes(kind)
    if not classes:
        value = _as_dict(entry.value) if isinstance(entry.value, Mapping) else entry.value
        settings[path] = Value(value, entry.origin, name)
    elif isinstance(entry.value, Mapping):
        known = {key: hint for c in reversed(classes) for key, hint in _fields(c).items()}
        for inner in entry.value:
            if inner.key in known:
                _walk(inner, (*path, inner.key), known[inner.key], prefix, settings, mistakes)
            else:
                mistakes.append(unknown_key(inner, f"{name}.{inner.key}", known))
    elif entry.value is not None:
        what = f"'{name}' is {entry.value!r}, but must be a section of settings"
        mistakes.append(InvalidInput(what, where=entry.origin.key(name), fix=f"write settings below '{entry.key}:'"))


def overlay(base: Settings, top: Settings) -> Settings:
    """Override `base` with `top`. A backbone of another kind, or a data source, replaces the old one as a whole."""
    sources: tuple[Path, ...] = (("data", "train"), ("data", "val"), ("data", "mix", "images"))
    replaced = [p for p in sources if any(k[: len(p)] == p for k in top)]
    kind = ("model", "backbone", "kind")
    if kind in top and (kind not in base or base[kind].value != top[kind].value):
        replaced.append(kind[:2])
    return {k: v for k, v in base.items() if not any(k[: len(p)] == p for p in replaced)} | top


def fill_defaults(settings: Settings, mistakes: list[IdolError]) -> Settings:
    """Add the defaults of idol_core.config for settings not given; the result is in the order of the dataclasses."""
    filled: Settings = {}
    _fill(StageConfig, (), settings, filled)
    for path in settings.keys() - filled.keys():
        owner = _owner(path, settings)
        what = f"{'.'.join(path[:-1])} of kind {owner[1]} has no '{path[-1]}'"
        mistakes.append(InvalidInput(what, where=settings[path].where, fix=suggestion(path[-1], owner[0])))
    return filled


def _fill(kind: type, path: Path, given: Settings, filled: Settings) -> None:
    hints = _fields(kind)
    for field in dataclasses.fields(kind):
        inner = (*path, field.name)
        classes = _classes(hints[field.name])
        if classes:
            _fill(_choose(classes, inner, given), inner, given, filled)
        elif inner in given:
            filled[inner] = given[inner]
        elif field.default is not dataclasses.MISSING:
            filled[inner] = Value(field.default, _default_origin(kind.__name__, field.name), ".".join(inner))


def _choose(classes: list[type], path: Path, given: Settings) -> type:
    """The dataclass named by the `kind` setting at `path`; the first one if it is absent or unknown."""
    kind = given.get((*path, "kind"))
    named = [c for c in classes if len(classes) > 1 and kind and kind.value == _kind_of(c)]
    return (named or classes)[0]


def _owner(path: Path, given: Settings) -> tuple[frozenset[str], str]:
    kind: Any = StageConfig
    for i, key in enumerate(path[:-1]):
        kind = _choose(_classes(_fields(kind)[key]), path[: i + 1], given)
    return frozenset(_fields(kind)), str(_kind_of(kind))


def validated(settings: Settings, mistakes: list[IdolError]) -> tuple[StageConfig, frozenset[Path]]:
    """Build the stage's config with strict type checks ('8' is not a number, 1.5 not an integer).

    Settings of the wrong type are reported in `mistakes` and get their defaults, so that the rest can be checked too;
    their paths are returned with the config.
    """
    stage, wrong = read_stage(_nested(settings))
    for path, value, expected in wrong:
        setting = settings[path]
        what = f"'{setting.name}' is {json.dumps(value, default=str)}; expected {expected}"
        mistakes.append(InvalidInput(what, where=setting.where, fix=f"give '{path[-1]}' a value of that kind"))
    return stage, frozenset(mistake.path for mistake in wrong)


def _nested(settings: Settings) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in settings.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value.value
    return nested


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _classes(hint: Any) -> list[type]:
    """The dataclasses in a type hint (several for a union)."""
    return [t for t in (hint, *get_args(hint)) if dataclasses.is_dataclass(t) and isinstance(t, type)]


def _kind_of(kind: type) -> Any:
    return next((f.default for f in dataclasses.fields(kind) if f.name == "kind"), None)


def _default_origin(owner: str, field: str) -> Origin:
    return Origin("idol_core/config.py", _default_lines().get((owner, field)))


@functools.cache
def _default_lines() -> dict[tuple[str, str], int]:
    tree = ast.parse(inspect.getsource(config))
    return {
        (owner.name, line.target.id): line.lineno
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for line in owner.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def _as_dict(mapping: Mapping) -> dict[str, Any]:
    return {e.key: _as_dict(e.value) if isinstance(e.value, Mapping) else e.value for e in mapping}
