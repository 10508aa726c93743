"""Starting a model from another one's weights: a parent stage, a published checkpoint, an ImageNet backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from idol_core.config import ModelConfig
from idol_core.errors import Integrity
from idol_core.model.idol import IDOL
from idol_core.weights.files import open_weights
from idol_core.weights.imagenet import to_backbone
from idol_core.weights.infer_config import (
    State,
    check_backbone,
    check_fits,
    check_names,
    check_shape,
    infer_backbone,
    some,
)
from idol_core.weights.published import is_published, published_to_ours, rename_published

_CLASS_HEADS, _EMBED_HEAD = "decoder.class_heads.", "embed_head."


@dataclass(frozen=True)
class Transfer:
    """What became of a model's tensors, by our names; `left_out` are names in the file that had no use."""

    transferred: tuple[str, ...]
    reinitialised: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"transferred {len(self.transferred)} tensors"]
        if self.reinitialised:
            parts.append(f"re-initialised {', '.join(_groups(self.reinitialised))}")
        if self.left_out:
            parts.append(f"left out {some(self.left_out)}")
        return "; ".join(parts)


def start_from(model: IDOL, path: Path) -> Transfer:
    """Start a freshly built `model` from a file: IDOL weights, ours or published, or an ImageNet backbone.

    Raises as `open_weights`, `transfer` and `load_backbone` do.
    """
    state, where = open_weights(path).state, str(path)
    if is_published(state):
        renamed, unexpected = rename_published(state, where=where)
        return transfer(model, renamed | {name: state[name] for name in unexpected}, where=where)
    if "decoder.query_embedding" in state:
        return transfer(model, state, where=where)
    return _load_backbone(model, state, where=where)


def transfer(model: IDOL, state: Mapping[str, Tensor], *, where: str = "") -> Transfer:
    """Copy a parent's weights (our names) into a freshly built model.

    The embedding head stays fresh where the parent has none (step 1), the class heads where the class count differs.
    Raises InvalidInput for another backbone, Integrity for anything else missing, left over or mis-shaped; the model is
    then as it was.
    """
    own = model.state_dict()
    _check_backbones(state, own, where=where)
    fresh = {name for name in own if name.startswith(_EMBED_HEAD)}
    if any(name.startswith(_EMBED_HEAD) for name in state):
        fresh = set()
    for name in own:
        if name.startswith(_CLASS_HEADS) and name in state and state[name].shape[1:] == own[name].shape[1:]:
            fresh |= {name} if state[name].shape != own[name].shape else set()
    known = [name for name in own if name not in fresh]
    check_names([name for name in state if name not in fresh], known, where=where)
    return _load(model, {name: state[name] for name in known}, where=where)


def load_backbone(model: IDOL, path: Path) -> Transfer:
    """Copy an ImageNet backbone (torchvision, timm or detectron2 names) into a freshly built model.

    Raises as `open_weights` does, InvalidInput for another backbone, Integrity for anything missing or mis-shaped.
    """
    return _load_backbone(model, open_weights(path).state, where=str(path))


def load_weights(path: Path, config: ModelConfig) -> State:
    """The complete state dict of `config`'s model from a file of ours or a published one.

    Raises as `open_weights` does, InvalidInput for another backbone, class count or step, Integrity for the rest.
    """
    state = open_weights(path).state
    if is_published(state):
        return published_to_ours(state, config, where=str(path))
    check_fits(state, config, where=str(path))
    return state


def _load_backbone(model: IDOL, state: Mapping[str, Tensor], *, where: str) -> Transfer:
    found, left_out = to_backbone(state, where=where)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("backbone.")}
    _check_backbones(found, own, where=where)
    known = [name for name in own if not name.startswith("backbone.norms.")]  # detection's own; a classifier has none
    check_names(found.keys(), known, where=where)
    return _load(model, found, where=where, left_out=tuple(left_out))


def _check_backbones(state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, where: str) -> None:
    try:
        found = infer_backbone(state)
    except KeyError as error:
        raise Integrity(f"the weights lack {error}", where=where, fix="fetch or train them again") from error
    check_backbone(found, infer_backbone(own), where=where)


def _load(model: IDOL, state: State, *, where: str, left_out: tuple[str, ...] = ()) -> Transfer:
    own = model.state_dict()
    for name, tensor in state.items():
        check_shape(name, tensor, tuple(own[name].shape), where=where)
    model.load_state_dict(state, strict=False)
    reinitialised = tuple(name for name in own if name not in state)
    return Transfer(tuple(state), reinitialised, left_out)


def _groups(names: tuple[str, ...]) -> list[str]:
    """Names cut to their first two parts, each once, with the count of tensors below."""
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    return [f"{group} ({count})" for group, count in counts.items()]
