"""What a weights file says of itself beside its tensors: the recipe that it was trained with, the names of its classes.

Metadata of safetensors is {text: text}: "recipe" holds a StageConfig as JSON, "classes" a JSON list of names by class
index. It may come from anywhere, so it is checked as a recipe in YAML is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors

from idol_core.config import StageConfig, stage_from_dict, stage_to_dict
from idol_core.constraints import findings
from idol_core.errors import Integrity
from idol_core.system.stand_ins import refuse_stand_in

_FIX = "fetch or train the weights again"


class Carried(NamedTuple):
    """What metadata says; None where it says nothing."""

    recipe: StageConfig | None
    classes: tuple[str, ...] | None  # names by class index


def to_metadata(config: StageConfig, classes: Sequence[str] | None) -> dict[str, str]:
    """Metadata of weights trained as `config` says; `classes` are the names of their classes, if they are known."""
    named = {} if classes is None else {"classes": json.dumps(list(classes))}
    return {"recipe": json.dumps(stage_to_dict(config)), **named}


def file_metadata(path: Path) -> Carried:
    """What a weights file says, without reading its tensors; nothing for other files than safetensors.

    Raises Integrity as `read_metadata` does, and where the file can't be read.
    """
    if path.suffix != ".safetensors":
        return Carried(None, None)
    try:
        refuse_stand_in(path)
        with safetensors.safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise Integrity(f"the weights can't be read: {error}", where=str(path), fix=_FIX) from error
    return read_metadata(metadata, where=str(path))


def read_metadata(metadata: Mapping[str, str], *, where: str) -> Carried:
    """The recipe and the class names in a file's metadata.

    Raises Integrity, naming the file `where`, for what is no such JSON, settings that are unknown, of the wrong type or
    out of range, and names that are not as many as the recipe's classes.
    """
    recipe = _recipe(metadata["recipe"], where) if "recipe" in metadata else None
    classes = _classes(metadata["classes"], where) if "classes" in metadata else None
    if recipe is not None and classes is not None and len(classes) != recipe.model.num_classes:
        what = f"the file names {len(classes)} classes, its recipe has {recipe.model.num_classes}"
        raise Integrity(what, where=f"{where}: metadata, classes", fix=_FIX)
    return Carried(recipe, classes)


def _recipe(text: str, where: str) -> StageConfig:
    place = f"{where}: metadata, recipe"
    try:
        config = stage_from_dict(_json(text))
    except ValueError as error:
        raise Integrity(f"the recipe in the file can't be understood: {error}", where=place, fix=_FIX) from error
    # Which data sets there are is no matter of the weights: they may be somewhere else by now.
    wrong = next((f for f in findings(config) if not f.about[0].startswith(("data.train", "data.val"))), None)
    if wrong is not None:
        raise Integrity(f"the recipe in the file can't work: {wrong.what}", where=place, fix=_FIX)
    return config


def _classes(text: str, where: str) -> tuple[str, ...]:
    place = f"{where}: metadata, classes"
    try:
        names = _json(text)
    except ValueError as error:
        raise Integrity(f"the class names in the file are no JSON: {error}", where=place, fix=_FIX) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Integrity("the class names in the file are no list of texts", where=place, fix=_FIX)
    return tuple(names)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets are nested without end") from error
