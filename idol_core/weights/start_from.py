"""Initialise a model from other weights: the previous training step, a published checkpoint, an ImageNet backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from idol_core.classes import match_classes, numbered
from idol_core.config import ModelConfig
from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import Carried, read_metadata
from idol_core.model.idol import IDOL
from idol_core.weights.files import open_weights
from idol_core.weights.imagenet import to_backbone
from idol_core.weights.infer_config import (
    State,
    check_backbone,
    check_finite,
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
    """Report on loading weights, in our tensor names; `left_out`: names in the file that were not used."""

    transferred: tuple[str, ...]
    reinitialised: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    classes: str = ""  # note on the rows of the class heads, if they were not copied unchanged

    def __str__(self) -> str:
        parts = [f"transferred {len(self.transferred)} tensors"]
        if self.reinitialised:
            parts.append(f"re-initialised {', '.join(_groups(self.reinitialised))}")
        if self.left_out:
            parts.append(f"left out {some(self.left_out)}")
        if self.classes:
            parts.append(self.classes)
        return "; ".join(parts)


@dataclass(frozen=True)
class Classes:
    """The classes of the model to be trained, for `start_from`."""

    names: tuple[str, ...]  # by class index
    step: int  # training step
    same: Mapping[str, str] = field(default_factory=dict)  # class name in the file -> class name here


def start_from(model: IDOL, path: Path, classes: Classes | None = None) -> Transfer:
    """Initialise a new `model` from a file: IDOL weights (ours or published) or an ImageNet backbone.

    If the file names its classes and `classes` is given, rows of the class heads are matched by name. If the classes
    differ, weights of another step get new class heads; of the same step, an equal number of other classes is refused.

    Raises as `open_weights`, `read_metadata`, `match_classes`, `transfer` and `load_backbone` do.
    """
    weights, where = open_weights(path), str(path)
    state = weights.state
    published = is_published(state)
    if not published and "decoder.query_embedding" not in state:
        return _load_backbone(model, state, where=where)
    if published:
        renamed, unexpected = rename_published(state, where=where)
        state = renamed | {name: state[name] for name in unexpected}
    heads = {name: tensor for name, tensor in state.items() if name.startswith(_CLASS_HEADS)}
    if classes is None or any(tensor.shape[:1] != (len(classes.names),) for tensor in heads.values()):
        return transfer(model, state, where=where)
    rows, said = _rows(read_metadata(weights.metadata, where=where), classes, where)
    if rows is not None:
        state = state | {name: tensor[list(rows)] for name, tensor in heads.items()}
    found = transfer(model, state, where=where, fresh_classes=rows is None)
    return dataclasses.replace(found, classes=said)


def _rows(carried: Carried, classes: Classes, where: str) -> tuple[Sequence[int] | None, str]:
    """Row in the file of each class, and a note for the report; None instead of rows if the heads start fresh."""
    count = len(classes.names)
    if carried.classes is None and not classes.same:
        return range(count), "the file does not name its classes: they are taken to be in the training set's order"
    try:
        matched = match_classes(
            carried.classes or numbered(count), classes.names, where=where, same=classes.same,
            sides=("the weights that it starts from", "the training set"), fix="--set data.classes_map=[{pairs}]",
        )  # fmt: skip
    except InvalidInput:
        if carried.recipe is not None and carried.recipe.step != classes.step:
            return None, "the file has other classes"
        raise
    rows = [matched.index(place) for place in range(count)]
    return rows, "" if rows == list(range(count)) else "class heads put in the training set's order of classes"


def transfer(model: IDOL, state: Mapping[str, Tensor], *, where: str = "", fresh_classes: bool = False) -> Transfer:
    """Copy weights (our names) into a newly built model.

    The embedding head keeps its initial values if `state` has none (step 1), the class heads if the class count differs
    or `fresh_classes` is set.
    Raises InvalidInput for another backbone, Integrity for tensors missing, left over or mis-shaped; the model is then
    unchanged.
    """
    own = model.state_dict()
    _check_backbones(state, own, where=where)
    fresh = {name for name in own if name.startswith(_EMBED_HEAD)}
    if any(name.startswith(_EMBED_HEAD) for name in state):
        fresh = set()
    for name in own:
        if name.startswith(_CLASS_HEADS) and name in state and state[name].shape[1:] == own[name].shape[1:]:
            fresh |= {name} if fresh_classes or state[name].shape != own[name].shape else set()
    known = [name for name in own if name not in fresh]
    check_names([name for name in state if name not in fresh], known, where=where)
    return _load(model, {name: state[name] for name in known}, where=where)


def load_backbone(model: IDOL, path: Path) -> Transfer:
    """Copy an ImageNet backbone (torchvision, timm or detectron2 names) into a newly built model.

    Raises as `open_weights` does, InvalidInput for another backbone, Integrity for anything missing or mis-shaped.
    """
    return _load_backbone(model, open_weights(path).state, where=str(path))


def load_weights(path: Path, config: ModelConfig) -> State:
    """Load the complete state dict of `config`'s model from our own or a published file.

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
    known = [name for name in own if not name.startswith("backbone.norms.")]  # norms: the detector's only
    check_names(found.keys(), known, where=where)
    return _load(model, found, where=where, left_out=tuple(left_out))


def _check_backbones(state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, where: str) -> None:
    try:
        found = infer_backbone(state)
    except KeyError as error:
        raise Integrity(f"the weights lack {error}", where=where, fix="fetch or train them again") from error
    except (ValueError, IndexError) as error:
        what = f"a tensor of the backbone has a wrong shape ({error})"
        raise Integrity(what, where=where, fix="fetch or train them again") from error
    check_backbone(found, infer_backbone(own), where=where)


def _load(model: IDOL, state: State, *, where: str, left_out: tuple[str, ...] = ()) -> Transfer:
    own = model.state_dict()
    for name, tensor in state.items():
        check_shape(name, tensor, tuple(own[name].shape), where=where)
    check_finite(state, where=where)
    model.load_state_dict(state, strict=False)
    reinitialised = tuple(name for name in own if name not in state)
    return Transfer(tuple(state), reinitialised, left_out)


def _groups(names: tuple[str, ...]) -> list[str]:
    """Group names by their first two parts, with the number of tensors in each group."""
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    return [f"{group} ({count})" for group, count in counts.items()]
