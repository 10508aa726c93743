"""Convert between our tensor names and those of published checkpoints, for any backbone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from idol_core.weights.names import our_name, published_name, published_names
from idol_core.weights.published import rename_ours

State = dict[str, Tensor]

_BODY = "backbone.body."  # prefix of RegisteredBackbone's tensors
_PUBLISHED_BODY = published_name("backbone.")
_INDEX = ".relative_position_index"  # buffer of the published Swin; it can be computed from the window size


def published_names_of(name: str) -> tuple[str, ...]:
    """All published names of one tensor of our model."""
    if name.startswith(_BODY):
        return (_PUBLISHED_BODY + name.removeprefix(_BODY),)
    return published_names(name)


def to_published(state: Mapping[str, Tensor]) -> State:
    """Rename our tensors to the published names; those within a detectron2 backbone keep its names."""
    inner = {name: tensor for name, tensor in state.items() if name.startswith(_BODY)}
    published = rename_ours({name: tensor for name, tensor in state.items() if name not in inner})
    return published | {_PUBLISHED_BODY + name.removeprefix(_BODY): tensor for name, tensor in inner.items()}


def to_ours(state: Mapping[str, Tensor], *, registered: bool) -> State:
    """Rename published tensors to our model's names; unknown names stay. `registered`: the model's backbone is one of
    detectron2's."""
    ours: State = {}
    for name, tensor in state.items():
        if registered and name.startswith(_PUBLISHED_BODY):
            ours[_BODY + name.removeprefix(_PUBLISHED_BODY)] = tensor
            continue
        known = our_name(name)
        if known is None or not name.endswith(_INDEX):
            ours[known or name] = tensor
    return ours
