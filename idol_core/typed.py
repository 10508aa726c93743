"""Read a frozen dataclass from JSON values with strict type checks; the fields' type hints are the schema."""

from __future__ import annotations

import dataclasses
import reprlib
import sys
import types
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_WRONG: Any = object()
_PLAIN = {int: "a valid integer", bool: "a valid boolean", str: "a valid string"}


class TypeMistake(NamedTuple):
    """A value of the wrong type: the path of keys to it, the value, and what was expected."""

    path: tuple[str, ...]
    value: Any
    expected: str

    def __str__(self) -> str:
        return f"'{'.'.join(self.path)}' is {reprlib.repr(self.value)}; expected {self.expected}"


def read_dataclass(kind: type[T], values: Any) -> tuple[T, list[TypeMistake]]:
    """Make a dataclass `kind` from a mapping; also return all mistakes (true is not a number, 1.5 not an integer).

    Fields may be booleans, numbers, texts, Literals, tuples, None, dataclasses, or one of several dataclasses told
    apart by their field `kind`. Fields with a wrong value get their default and a mistake, unknown keys a mistake.
    Fields left out get their default; only those without a default are a mistake.
    """
    mistakes: list[TypeMistake] = []
    found = _read(kind, values, (), mistakes)
    return (_read(kind, {}, (), []) if found is _WRONG else found), mistakes


def _read(kind: Any, value: Any, path: tuple[str, ...], mistakes: list[TypeMistake]) -> Any:
    """Convert `value` to `kind`; if it does not fit, append a mistake and return _WRONG."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None and type(None) in args else _read_union(args, value, path, mistakes)
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, path, mistakes)
    if origin is tuple:
        return _read_tuple(args, value, path, mistakes)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in args):
            return value
        return _wrong(path, value, " or ".join(map(repr, args)), mistakes)
    if kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
        return _wrong(path, value, "a valid number", mistakes)
    fits = type(value) is kind and (kind is not int or abs(value) < 2**63)
    return value if fits else _wrong(path, value, _PLAIN[kind], mistakes)


def _read_union(args: tuple[Any, ...], value: Any, path: tuple[str, ...], mistakes: list[TypeMistake]) -> Any:
    """Read `value` as the option whose `kind` it names; as the first option if it names none."""
    options = [a for a in args if a is not type(None)]
    if len(options) > 1 and isinstance(value, Mapping) and "kind" in value:
        named = [a for a in options if a.kind == value["kind"]]
        if not named:
            return _wrong((*path, "kind"), value["kind"], " or ".join(repr(a.kind) for a in options), mistakes)
        options = named
    return _read(options[0], value, path, mistakes)


def _read_fields(kind: Any, value: Any, path: tuple[str, ...], mistakes: list[TypeMistake]) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(path, value, "settings", mistakes)
    hints = get_type_hints(kind)
    found = {}
    for key, inner in value.items():
        if key in hints:
            found[key] = _read(hints[key], inner, (*path, key), mistakes)
        else:
            _wrong((*path, str(key)), inner, f"one of {', '.join(hints)}", mistakes)
    for one in dataclasses.fields(kind):
        given = found.pop(one.name, _WRONG)
        if given is not _WRONG:
            found[one.name] = given
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            if one.name not in value:
                _wrong((*path, one.name), None, "a value", mistakes)
            choices = get_args(hints[one.name])
            found[one.name] = choices[0] if choices else hints[one.name]()  # a placeholder; the rest is checked too
    return kind(**found)


def _read_tuple(args: tuple[Any, ...], value: Any, path: tuple[str, ...], mistakes: list[TypeMistake]) -> Any:
    if not isinstance(value, (list, tuple)):
        return _wrong(path, value, "a valid list", mistakes)
    if args[-1] is not Ellipsis and len(value) != len(args):
        return _wrong(path, value, f"a list of {len(args)}", mistakes)
    noted: list[TypeMistake] = []
    found = tuple(_read(args[0], inner, path, noted) for inner in value)
    if noted:
        return _wrong(path, value, f"a list, each element {noted[0].expected}", mistakes)
    return found


def _wrong(path: tuple[str, ...], value: Any, expected: str, mistakes: list[TypeMistake]) -> Any:
    mistakes.append(TypeMistake(path, value, expected))
    return _WRONG
