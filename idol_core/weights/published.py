"""Convert state dicts between the layout of the published checkpoints and ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from idol_core.backbones.swin import relative_position_index
from idol_core.config import ModelConfig
from idol_core.errors import Integrity
from idol_core.weights.infer_config import State, check_fits, window_of
from idol_core.weights.names import our_name, published_name, published_names

_TABLE, _INDEX = ".relative_position_bias_table", ".relative_position_index"


def is_published(names: Mapping[str, object]) -> bool:
    """Whether a state dict uses the published checkpoints' names."""
    return any(name.startswith("detr.detr.") for name in names)


def rename_published(state: Mapping[str, Tensor], *, where: str = "") -> tuple[State, list[str]]:
    """Rename a published state dict to our names; also returns unknown names. Tensors are shared, not copied.

    The second copy of each box head, and Swin's index tables (determined by the window size), are checked and dropped.
    Raises Integrity if they contradict the rest, or a copy is missing.
    """
    ours: State = {}
    unexpected = []
    for name, tensor in state.items():
        known = our_name(name)
        if known is None:
            unexpected.append(name)
        elif name.endswith(_INDEX):
            _check_index(name, tensor, state, where=where)
        elif known in ours:
            if not torch.equal(ours[known], tensor):
                raise Integrity(f"the two copies of {name} differ", where=where, fix="fetch or train the weights again")
        else:
            ours[known] = tensor
    for name in ours:
        index = [published_name(name).removesuffix(_TABLE) + _INDEX] * name.endswith(_TABLE)
        if absent := [n for n in (*published_names(name), *index) if n not in state]:
            raise Integrity(f"{absent[0]} is missing", where=where, fix="fetch or train the weights again")
    return ours, unexpected


def published_to_ours(state: Mapping[str, Tensor], config: ModelConfig, *, where: str = "") -> State:
    """Convert a published state dict to our names and check it fully against `config`.

    Raises InvalidInput for another backbone or class count, Integrity for anything missing, left over or mis-shaped.
    """
    ours, unexpected = rename_published(state, where=where)
    check_fits(ours | {name: state[name] for name in unexpected}, config, where=where)
    return ours


def ours_to_published(state: Mapping[str, Tensor], config: ModelConfig, *, where: str = "") -> State:
    """Convert our state dict to published names, checked fully against `config`; box heads appear under two names."""
    check_fits(state, config, where=where)
    return rename_ours(state)


def rename_ours(state: Mapping[str, Tensor]) -> State:
    """Rename our state dict to published names; tensors are shared, not copied. Adds the second name of each box head
    and the index of Swin's bias tables. Raises ValueError for a name that is not ours."""
    published: State = {}
    for name, tensor in state.items():
        for theirs in published_names(name):
            published[theirs] = tensor
            if theirs.endswith(_TABLE):
                published[theirs.removesuffix(_TABLE) + _INDEX] = relative_position_index(window_of(tensor))
    return published


def _index_of(table: Tensor) -> Tensor:
    return relative_position_index(window_of(table))


def _check_index(name: str, index: Tensor, state: Mapping[str, Tensor], *, where: str) -> None:
    table = state.get(name.removesuffix(_INDEX) + _TABLE)
    cells = 0 if table is None else window_of(table) ** 2  # checked before an index of this size is built
    if table is None or index.shape != (cells, cells) or not torch.equal(index, _index_of(table)):
        raise Integrity(f"{name} does not fit its bias table", where=where, fix="fetch or train the weights again")
