"""Translate a complete configuration of the original to our settings."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from idol_core.yacs.fields import FIELDS
from idol_core.yacs.rules import Config, Sets, Unread


class Problem(NamedTuple):
    """A key whose value is not supported here."""

    key: str
    what: str
    fix: str


class Setting(NamedTuple):
    """A setting's value and the key that it comes from."""

    value: Any
    key: str


@dataclass(frozen=True)
class Translation:
    """Result of a translation: settings by dotted path of StageConfig (including `step`), problems, ignored keys."""

    settings: dict[str, Setting]
    problems: list[Problem]
    unread: dict[str, str]  # ignored keys that were changed from their default -> why they are ignored


def defaults() -> dict[str, Any]:
    """The default value of every key."""
    return {key: field.default for key, field in FIELDS.items()}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a nested mapping; tuples become lists."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), _listed(value)


def parse_text(value: Any) -> Any:
    """Evaluate a text that is a Python literal ('(8000,)' -> [8000]), as detectron2 does for YAML and its command line;
    other values are returned as they are."""
    if isinstance(value, str):
        try:
            return _listed(ast.literal_eval(value))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return _listed(value)


def coerced(key: str, value: Any) -> Any:
    """Convert the value to the type of the key's default (an integer is accepted for a float).

    Raises ValueError, whose text continues "KEY is VALUE,".
    """
    default = FIELDS[key].default
    if default is None or type(value) is type(default):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    raise ValueError(f"a {_TYPES[type(default)]} is expected")


def translate(config: Config, *, keys: Collection[str] = FIELDS) -> Translation:
    """Translate the `keys` of a complete configuration. Values must have the types of the defaults (`coerced`)."""
    found = Translation({}, [], {})
    for key in keys:
        field, value = FIELDS[key], config[key]
        if isinstance(field, Unread):
            if value != field.default:
                found.unread[key] = field.reason
        elif not field.when(config):
            continue
        elif isinstance(field, Sets):
            try:
                settings = field.settings(value, config)
            except ValueError as error:
                found.problems.append(Problem(key, f"{key} is {value!r}, {error}", f"change {key}"))
                continue
            found.settings.update({path: Setting(v, key) for path, v in settings.items()})
        elif value not in (allowed := field.allowed(config)):
            choices = " or ".join(map(repr, allowed))
            found.problems.append(
                Problem(key, f"{key} is {value!r}, here it can only be {choices}", _assign(key, allowed))
            )
    return found


_TYPES = {bool: "truth value", int: "whole number", float: "number", str: "text", list: "list"}


def _assign(key: str, allowed: list[Any]) -> str:
    return f"{key}: {allowed[0]!r}"


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, (list, tuple)) else value
