"""Kinds of configuration keys: those that become settings, those with few supported values, those ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]  # every dotted key with its value; sequences are lists
Condition = Callable[[Config], bool]


def always(config: Config) -> bool:
    """Condition of a key that applies whatever the values of the others."""
    return True


@dataclass(frozen=True)
class Sets:
    """A key that is translated to settings of ours.

    `settings(value, config)` returns them by dotted path of StageConfig. If the value has no counterpart it raises
    ValueError, whose text continues "KEY is VALUE,".
    """

    default: Any
    settings: Callable[[Any, Config], dict[str, Any]]
    when: Condition = always


@dataclass(frozen=True)
class Needs:
    """A key with fixed behaviour here: our code does what the `allowed` values say; others are refused."""

    default: Any
    allowed: Callable[[Config], list[Any]]
    when: Condition = always


@dataclass(frozen=True)
class Unread:
    """A key that has no effect on training or results here, and why."""

    default: Any
    reason: str


Field = Sets | Needs | Unread


def sets(default: Any, *paths: str, when: Condition = always) -> Sets:
    """A key whose value is copied to each of `paths`."""
    return Sets(default, lambda value, config: dict.fromkeys(paths, value), when)


def chooses(default: Any, path: str, words: Mapping[Any, Any], *, when: Condition = always) -> Sets:
    """A key with a few values, each of which has a counterpart (`words`) for the setting at `path`."""

    def settings(value: Any, config: Config) -> dict[str, Any]:
        if value not in words:
            raise ValueError(f"only {' or '.join(map(repr, words))} is supported here")
        return {path: words[value]}

    return Sets(default, settings, when)


def needs(default: Any, *allowed: Any, when: Condition = always) -> Needs:
    """A key that must have one of the `allowed` values."""
    return Needs(default, lambda config: list(allowed), when)
