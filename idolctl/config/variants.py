"""Expand `--set KEY=A,B` of `idolctl eval`: one configuration per combination of values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idol_core.config import StageConfig, stage_to_dict
from idol_core.errors import IdolError, InvalidInput
from idolctl.config.constraints import check_stage
from idolctl.config.load_yaml import Origin
from idolctl.config.overrides import detectron2_key, settings_document
from idolctl.config.schema import Path, Value, overlay, validated
from idolctl.errors import raise_all

ALLOWED = ("tracker.", "input.test_")  # settings that act after training


@dataclass(frozen=True)
class Variant:
    """One configuration, and the settings that were set in it."""

    settings: dict[str, str]
    config: StageConfig


def single_variant(config: StageConfig, assignments: Sequence[str]) -> StageConfig:
    """The configuration with the given settings, one value each. Raises Mistakes (exit 2) as `variants` does."""
    found = variants(config, assignments)
    if len(found) > 1:
        raise InvalidInput("several values of a setting", where="--set", fix="give one; `idolctl eval` tries several")
    return found[0].config


def variants(config: StageConfig, assignments: Sequence[str]) -> list[Variant]:
    """All combinations of the given values; without any, the one configuration as it is. Raises Mistakes (exit 2)."""
    mistakes: list[IdolError] = []
    choices: dict[str, list[str]] = {}
    for text in assignments:
        key, _, given = (part.strip() for part in text.partition("="))
        values = [value.strip() for value in given.split(",")]
        if foreign := detectron2_key(key):
            mistakes.append(foreign)
        elif not key.startswith(ALLOWED) or not all(values):
            what = f"'{text}' is not an evaluation setting (those are {ALLOWED[0]}* and {ALLOWED[1]}*)"
            mistakes.append(InvalidInput(what, where="--set", fix="--set tracker.new_threshold=.2,.3,.4"))
        else:
            choices[key] = values
    raise_all(mistakes)
    base = dict(_settings(stage_to_dict(config)))
    found = []
    for combination in itertools.product(*choices.values()):
        chosen = dict(zip(choices, combination, strict=True))
        document = settings_document([f"{key}={value}" for key, value in chosen.items()])
        mistakes += document.mistakes
        raise_all(mistakes)
        settings = overlay(base, document.scope.common.settings)
        changed, doubtful = validated(settings, mistakes)
        elsewhere = frozenset(path for path in settings if path[0] == "data")  # weights serve without training data
        check_stage(changed, settings, doubtful | elsewhere, mistakes)
        found.append(Variant(chosen, changed))
    raise_all(mistakes)
    return found


def _settings(tree: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Value]]:
    for key, value in tree.items():
        inner = (*path, key)
        if isinstance(value, dict):
            yield from _settings(value, inner)
        else:
            yield inner, Value(value, Origin("the run's settings"), ".".join(inner))
