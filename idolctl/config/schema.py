"""What a recipe may hold: the fields of idol_core's frozen dataclasses, read by introspection, checked by pydantic.

No field is defined a second time here. Settings are kept flat, one `Value` per dotted path of StageConfig, so that
layers can be put over each other and each value still knows where it was written.
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

from pydantic import TypeAdapter, ValidationError

from idol_core import config
from idol_core.config import StageConfig
from idol_core.errors import IdolError, InvalidInput
from idolctl.config.load_yaml import Entry, Mapping, Origin
from idolctl.errors import suggestion

Path = tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """A setting's value, where it was written and the full key it has there (`steps.3.solver.lr`)."""

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
    """Add all settings of one section to `settings`; unknown keys go to `mistakes` with the nearest known one."""
    _walk(entry, (entry.key,), _fields(StageConfig)[entry.key], prefix, settings, mistakes)


RENAMED = {
    "batch": "batch_size",
    "normalise": "normalize",
    "colour": "color",
    "select_score": "select_threshold",
    "match_score": "match_threshold",
    "new_score": "new_threshold",
    "init_score": "init_threshold",
}  # keys of recipes written before they took these names


def unknown_key(entry: Entry, name: str, known: AbstractMapping[str, Any] | frozenset[str] | set[str]) -> InvalidInput:
    """The mistake of a key that nothing reads; one that was renamed is told its new name."""
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
        what = f"'{name}' holds {entry.value!r}, settings are expected"
        mistakes.append(InvalidInput(what, where=entry.origin.key(name), fix=f"write settings below '{entry.key}:'"))


def overlay(base: Settings, top: Settings) -> Settings:
    """`top` over `base`. A backbone of another kind and a data source replace what was there as a whole."""
    replaced: list[Path] = [p for p in (("data", "train"), ("data", "val")) if any(k[:2] == p for k in top)]
    kind = ("model", "backbone", "kind")
    if kind in top and (kind not in base or base[kind].value != top[kind].value):
        replaced.append(kind[:2])
    return {k: v for k, v in base.items() if k[:2] not in replaced} | top


def fill_defaults(settings: Settings, mistakes: list[IdolError]) -> Settings:
    """Every setting of a stage, in the order of the dataclasses; those not given come from idol_core.config."""
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
    """The dataclass that the `kind` given at `path` names; the first one if none or an unknown one is given."""
    kind = given.get((*path, "kind"))
    named = [c for c in classes if len(classes) > 1 and kind and kind.value == _kind_of(c)]
    return (named or classes)[0]


def _owner(path: Path, given: Settings) -> tuple[frozenset[str], str]:
    kind: Any = StageConfig
    for i, key in enumerate(path[:-1]):
        kind = _choose(_classes(_fields(kind)[key]), path[: i + 1], given)
    return frozenset(_fields(kind)), str(_kind_of(kind))


def validated(settings: Settings, mistakes: list[IdolError]) -> tuple[StageConfig, frozenset[Path]]:
    """The stage, its types checked strictly ('8' is no number, 1.5 no integer).

    Settings of the wrong type go to `mistakes` and have their defaults in the result, so that the rest can be judged
    too; their paths are returned.
    """
    try:
        return _adapter().validate_json(json.dumps(_nested(settings), default=str), strict=True), frozenset()
    except ValidationError as error:
        bad = frozenset(p for problem in error.errors() if (p := _type_mistake(problem, settings, mistakes)))
        rest: Settings = {}
        _fill(StageConfig, (), {k: v for k, v in settings.items() if k not in bad}, rest)
        return _adapter().validate_json(json.dumps(_nested(rest), default=str), strict=True), bad


def _nested(settings: Settings) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in settings.items():
        place = nested
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value.value
    return nested


def _type_mistake(problem: Any, settings: Settings, mistakes: list[IdolError]) -> Path | None:
    """Note one of pydantic's findings; None if it is about the backbone that was not chosen."""
    branches = {c.__name__: _kind_of(c) for c in _classes(_fields(config.ModelConfig)["backbone"])}
    location = [str(part) for part in problem["loc"]]
    chosen = settings[("model", "backbone", "kind")].value
    branch = next((part for part in location if part in branches), None)
    if branch and branches[branch] != chosen and chosen in branches.values():
        return None
    path = tuple(part for part in location if part not in branches)
    while path not in settings:
        path = path[:-1]
    value, expected = settings[path], problem["msg"].removeprefix("Input should be ")
    what = f"'{value.name}' is {json.dumps(value.value, default=str)}; expected {expected}"
    mistakes.append(InvalidInput(what, where=value.where, fix=f"give '{path[-1]}' a value of that kind"))
    return path


@functools.cache
def _adapter() -> TypeAdapter[StageConfig]:
    return TypeAdapter(StageConfig)


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _classes(hint: Any) -> list[type]:
    """The dataclasses that a type allows."""
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
