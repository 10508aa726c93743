"""Kinds of keys: it sets a setting of ours, only some values are supported, or nothing reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]  # every key, dotted, with its value; sequences are lists
Condition = Callable[[Config], bool]


def always(config: Config) -> bool:
    """The key counts whatever the others say."""
    return True


@dataclass(frozen=True)
class Sets:
    """A key that becomes settings of ours.

    `settings(value, config)` gives them by dotted path of StageConfig, or raises ValueError, in words that follow
    "KEY is VALUE,", where the value has no counterpart.
    """

    default: Any
    settings: Callable[[Any, Config], dict[str, Any]]
    when: Condition = always


@dataclass(frozen=True)
class Needs:
    """A key that is no choice here: our code does what one of the `allowed` values says."""

    default: Any
    allowed: Callable[[Config], list[Any]]
    when: Condition = always


@dataclass(frozen=True)
class Unread:
    """A key that changes nothing that is learnt or reported here, and why."""

    default: Any
    reason: str


Field = Sets | Needs | Unread


def sets(default: Any, *paths: str, when: Condition = always) -> Sets:
    """The value as it is, at each of `paths`."""
    return Sets(default, lambda value, config: dict.fromkeys(paths, value), when)


def chooses(default: Any, path: str, words: Mapping[Any, Any], *, when: Condition = always) -> Sets:
    """One of a few values, each with its word in our settings."""

    def settings(value: Any, config: Config) -> dict[str, Any]:
        if value not in words:
            raise ValueError(f"only {' or '.join(map(repr, words))} can be had here")
        return {path: words[value]}

    return Sets(default, settings, when)


def needs(default: Any, *allowed: Any, when: Condition = always) -> Needs:
    """One of `allowed`, whatever the other keys say."""
    return Needs(default, lambda config: list(allowed), when)
