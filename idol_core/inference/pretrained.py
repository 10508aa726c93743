"""Build a network from a weights file that carries its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from idol_core.build import build_from
from idol_core.config import StageConfig
from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import read_metadata
from idol_core.model.idol import IDOL
from idol_core.weights import open_weights
from idol_core.weights.infer_config import check_fits


class Pretrained(NamedTuple):
    """A network with its weights, the recipe they were trained with and the names of their classes, if known."""

    model: IDOL
    recipe: StageConfig
    classes: tuple[str, ...] | None


def open_pretrained(path: Path) -> Pretrained:
    """Read weights and build their network.

    Raises InvalidInput if the file has no recipe, Integrity if the recipe is invalid or does not fit the tensors, and
    as `open_weights` does.
    """
    state, metadata = open_weights(path)
    carried = read_metadata(metadata, where=str(path))
    config = carried.recipe
    if config is None:
        stem = f"{path.stem}-idolctl" if path.suffix == ".safetensors" else path.stem
        raise InvalidInput(
            "the file does not carry the recipe it was built from",
            where=str(path),
            fix=f"idolctl convert {path} --to idolctl --out {stem}.safetensors",
        )
    try:
        check_fits(state, config.model, where=str(path))
    except InvalidInput as error:  # the sizes come from the file, not from the caller
        raise Integrity(error.what, where=str(path), fix="fetch or train the weights again") from error
    return Pretrained(build_from(config.model, state), config, carried.classes)


def check_tracks(model: IDOL, *, where: str = "") -> None:
    """Raise InvalidInput if a network has no embedding head."""
    if model.embed_head is None:
        what = "these weights have no embedding head (step 1), so they cannot track"
        raise InvalidInput(what, where=where, fix="use the weights of step 2 or 3")
