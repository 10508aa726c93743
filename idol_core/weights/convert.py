"""Convert a weights file between our layout and the published one."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from idol_core.config import ModelConfig
from idol_core.errors import InvalidInput
from idol_core.system.files import write_aside
from idol_core.weights.files import open_weights, save_weights
from idol_core.weights.infer_config import State, check_fits, expected_shapes, infer_config, some
from idol_core.weights.published import is_published, ours_to_published, rename_published


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion, in our tensor names (unexpected ones as in the file)."""

    config: ModelConfig  # sizes inferred from the tensors
    mapped: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]  # left out of the new file


def convert_file(
    source: Path,
    to: Literal["idolctl", "vnext"],
    out: Path,
    *,
    describe: Callable[[ModelConfig], Mapping[str, str]] | None = None,
) -> Conversion:
    """Convert IDOL weights (ours or published) to our safetensors or to a detectron2 checkpoint {"model": ...}.

    A file with missing tensors is not converted. Existing metadata of ours is kept; otherwise `describe(config)` makes
    it from the sizes inferred from the tensors.
    Raises as `open_weights` does, InvalidInput if the file has only a backbone or `out` has the wrong extension,
    Integrity for tensors of wrong shapes.
    """
    ending = ".safetensors" if to == "idolctl" else ".pth"
    if out.suffix != ending:
        raise InvalidInput(f"--to {to} writes {ending} files", where=str(out), fix=f"--out {out.with_suffix(ending)}")
    state, metadata = open_weights(source)
    ours, unexpected = _in_our_names(state, where=str(source))
    config = infer_config(ours, where=str(source))
    wanted = expected_shapes(config)
    mapped = {name: tensor for name, tensor in ours.items() if name in wanted}
    unexpected += [name for name in ours if name not in wanted]
    missing = tuple(name for name in wanted if name not in ours)
    if not missing:
        check_fits(mapped, config, where=str(source))
        if to == "idolctl":
            described = describe(config) if describe else {"source": source.name}
            save_weights(out, mapped, metadata or described)
        else:
            content = io.BytesIO()  # torch.save to a file would hide disk errors behind a RuntimeError
            torch.save({"model": ours_to_published(mapped, config)}, content)
            with write_aside(out) as aside:
                aside.write_bytes(content.getbuffer())
    return Conversion(config, tuple(mapped), missing, tuple(unexpected))


def _in_our_names(state: State, *, where: str) -> tuple[State, list[str]]:
    if is_published(state):
        return rename_published(state, where=where)
    if not any(name.startswith("decoder.") for name in state):
        what = f"not an IDOL model; it has {some(state)}"
        raise InvalidInput(
            what, where=where, fix="an ImageNet backbone needs no conversion: name it as a recipe's init"
        )
    return dict(state), []
