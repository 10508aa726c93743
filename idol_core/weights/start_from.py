"""Initialise a model from other weights: the previous training step, a published checkpoint, an ImageNet backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from idol_core.backbones.timm_network import TimmNetwork, load_timm
from idol_core.classes import Kept, kept_classes, numbered
from idol_core.config import ModelConfig
from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import Carried, read_metadata
from idol_core.model.idol import IDOL
from idol_core.weights.files import open_weights
from idol_core.weights.imagenet import efficientnet_to_timm, is_efficientnet_pytorch, to_backbone
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
    by_name: bool = False  # keep what is common with weights of another step, too
    of_file: tuple[str, ...] | None = None  # names of the file's classes, for a file without names


def start_from(model: IDOL, path: Path, classes: Classes | None = None) -> Transfer:
    """Initialise a new `model` from a file: IDOL weights (ours or published) or an ImageNet backbone.

    If the names of the file's classes are known and `classes` is given, rows of the class heads are matched by name;
    those of other classes are initialised anew. Weights of another step that have other classes get new class heads
    throughout, as in the published training, unless `by_name` is set.

    Raises as `open_weights`, `read_metadata`, `transfer` and `load_backbone` do.
    """
    weights, where = open_weights(path), str(path)
    state = weights.state
    published = is_published(state)
    if not published and "decoder.query_embedding" not in state:
        return _load_backbone(model, state, where=where)
    if published:
        renamed, unexpected = rename_published(state, where=where)
        state = renamed | {name: state[name] for name in unexpected}
    heads = {name: tensor for name, tensor in state.items() if name.startswith(_CLASS_HEADS) and tensor.dim() > 0}
    count = min((len(tensor) for tensor in heads.values()), default=0)
    if classes is None or any(len(tensor) != count for tensor in heads.values()):
        return transfer(model, state, where=where)
    kept = _kept(read_metadata(weights.metadata, where=where), classes, count)
    fresh = all(row is None for row in kept.rows)
    if not fresh:
        own = model.state_dict()
        state = state | {name: _rows(tensor, own[name], kept.rows) for name, tensor in heads.items() if name in own}
    found = transfer(model, state, where=where, fresh_classes=fresh)
    return dataclasses.replace(found, classes=kept.note)


def _kept(carried: Carried, classes: Classes, count: int) -> Kept:
    """Row of each class among the file's `count` classes, and a note for the report."""
    here, nothing = classes.names, (None,) * len(classes.names)
    known = carried.classes or classes.of_file
    if known is not None and len(known) != count:
        known = None
    if known is None and not classes.same:
        if count != len(here):
            return Kept(nothing, "class heads start new: the file has another number of classes and does not name them")
        note = "the file does not name its classes: they are taken to be in the training set's order"
        return Kept(tuple(range(count)), note)
    found = kept_classes(known or numbered(count), here, same=classes.same)
    if None not in found.rows and len(here) == count:
        return found
    if carried.recipe is None or carried.recipe.step == classes.step or classes.by_name:
        return found
    return Kept(nothing, "the file has other classes" if len(here) == count else "")


def _rows(stored: Tensor, fresh: Tensor, rows: Sequence[int | None]) -> Tensor:
    """A class head of the model: rows of the file where there is one, else the new rows."""
    if stored.shape[1:] != fresh.shape[1:]:
        return stored  # `transfer` refuses it
    mixed = fresh.clone()
    for place, row in enumerate(rows):
        if row is not None:
            mixed[place] = stored[row]
    return mixed


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
    """Copy an ImageNet backbone (torchvision, timm, detectron2 or efficientnet_pytorch names) into a new model.

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
    if isinstance(model.backbone, TimmNetwork):
        load_timm(model.backbone, _timm_names(state, model.backbone.name, where=where), where=where)
        names = tuple(model.state_dict())
        given = tuple(name for name in names if name.startswith("backbone.net."))
        return Transfer(given, tuple(name for name in names if name not in given))
    found, left_out = to_backbone(state, where=where)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("backbone.")}
    _check_backbones(found, own, where=where)
    known = [name for name in own if not name.startswith("backbone.norms.")]  # norms: the detector's only
    check_names(found.keys(), known, where=where)
    return _load(model, found, where=where, left_out=tuple(left_out))


def _timm_names(state: Mapping[str, Tensor], network: str, *, where: str) -> Mapping[str, Tensor]:
    """Weights of a timm network in timm's names, which all but those of efficientnet_pytorch have already."""
    if not is_efficientnet_pytorch(state):
        return state
    if not network.startswith("tf_"):  # the tensors would fit, and give other features
        what = f"the weights come from TensorFlow, which pads otherwise than timm's {network}"
        raise InvalidInput(what, where=where, fix=f"model.backbone.name: tf_{network}")
    return efficientnet_to_timm(state, where=where)


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
