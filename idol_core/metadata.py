"""Metadata of a weights file: the recipe that the weights were trained with and the names of their classes.

Metadata of safetensors and of exported models is {text: text}: "recipe" holds a StageConfig as JSON, "classes" a JSON
list of names by class index. Files may come from anywhere, so the recipe is checked as strictly as one in YAML.
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
from idol_core.system.onnx_header import onnx_metadata
from idol_core.system.openvino_header import openvino_metadata
from idol_core.system.stand_ins import refuse_stand_in

EXPORTED = {".onnx": onnx_metadata, ".xml": openvino_metadata}  # by ending, exported models and how to read metadata
_FIX = "fetch or train the weights again"


class Carried(NamedTuple):
    """Contents of the metadata; None for a part that is missing."""

    recipe: StageConfig | None
    classes: tuple[str, ...] | None  # names by class index


def to_metadata(config: StageConfig, classes: Sequence[str] | None) -> dict[str, str]:
    """Make the metadata of weights trained with `config`; `classes` are the names of their classes, None if unknown."""
    named = {} if classes is None else {"classes": json.dumps(list(classes))}
    return {"recipe": json.dumps(stage_to_dict(config)), **named}


def file_metadata(path: Path) -> Carried:
    """Read the metadata of a weights file, without its tensors; both parts None in other formats.

    Raises Integrity as `read_metadata` does, and if the file can't be read.
    """
    if path.suffix not in (".safetensors", *EXPORTED):
        return Carried(None, None)
    try:
        refuse_stand_in(path)
        if path.suffix in EXPORTED:
            return read_metadata(EXPORTED[path.suffix](path), where=str(path))
        with safetensors.safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise Integrity(f"the weights can't be read: {error}", where=str(path), fix=_FIX) from error
    return read_metadata(metadata, where=str(path))


def read_metadata(metadata: Mapping[str, str], *, where: str) -> Carried:
    """Parse and check the recipe and the class names in a file's metadata.

    Raises Integrity, naming the file `where`, for malformed JSON, settings that are unknown, of the wrong type or out
    of range, and a number of names other than the recipe's `num_classes`.
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
    # Ignore mistakes about the data sets: the weights are usable without them.
    wrong = next(
        (f for f in findings(config) if not f.about[0].startswith(("data.train", "data.val", "data.mix"))), None
    )
    if wrong is not None:
        raise Integrity(f"the recipe in the file is not valid: {wrong.what}", where=place, fix=_FIX)
    return config


def _classes(text: str, where: str) -> tuple[str, ...]:
    place = f"{where}: metadata, classes"
    try:
        names = _json(text)
    except ValueError as error:
        raise Integrity(f"the class names in the file are not JSON: {error}", where=place, fix=_FIX) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Integrity("the class names in the file are not a list of texts", where=place, fix=_FIX)
    return tuple(names)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets are nested without end") from error
