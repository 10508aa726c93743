"""The objective of training as one module, whose gradients are averaged over the processes of a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from idol_core.config import LossConfig
from idol_core.engine.distributed import Group
from idol_core.losses.criterion import Criterion
from idol_core.model.idol import IDOL
from idol_core.structures import Batch


class Objective(nn.Module):
    """A model and its criterion: batch -> weighted losses by name.

    `total_matches` is handed to the criterion. With `connected`, all parameters that require gradients get one from
    every batch, zero in parts that the batch does not use.
    """

    def __init__(
        self, model: IDOL, criterion: Criterion, total_matches: Callable[[Tensor], Tensor], *, connected: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.total_matches = total_matches
        self.connected = connected

    def forward(self, batch: Batch, generators: list[torch.Generator]) -> dict[str, Tensor]:
        decoded = self.model(batch.frames)
        losses = self.criterion(self.model, decoded, batch, generator=generators, total_matches=self.total_matches)
        if self.connected:
            for part, used in zip(optional_parts(self.model), uses(batch), strict=True):
                if not used:
                    nothing = [parameter.flatten()[:0].sum() for parameter in part]
                    losses["loss_ce"] = losses["loss_ce"] + sum(nothing)
        return losses


def in_group(
    model: IDOL, loss: LossConfig, total_matches: Callable[[Tensor], Tensor], group: Group, *, backwards: int
) -> nn.Module:
    """The objective of a model in a group: the last of an iteration's `backwards` passes averages over the processes.

    Every batch gives every parameter a gradient, so that nothing has to be searched for parameters without one, unless
    the heads of layers without losses never get any (`loss.deep_supervision` off).
    """
    if group.world == 1:
        return Objective(model, Criterion(loss), total_matches)
    connected = loss.deep_supervision
    return DistributedDataParallel(
        Objective(model, Criterion(loss), total_matches, connected=connected),
        device_ids=[group.device] if group.device.type == "cuda" else None,
        broadcast_buffers=False,
        find_unused_parameters=not connected,
        static_graph=connected and backwards == 1,  # torch refuses it where the first backward is without averaging
        gradient_as_bucket_view=True,
    )


def drop_unused_gradients(model: IDOL, batches: Sequence[Batch], group: Group) -> None:
    """Drop the gradients of parts that no batch of the group used, so that the optimizer leaves them as they are."""
    if group.world == 1:  # they got none
        return
    used = group.largest(*(int(any(column)) for column in zip(*map(uses, batches), strict=True)))
    for part, used_somewhere in zip(optional_parts(model), used, strict=True):
        if not used_somewhere:
            for parameter in part:
                parameter.grad = None


def optional_parts(model: IDOL) -> list[list[nn.Parameter]]:
    """The parameters that a batch may give no gradient: those of the mask filters, and of the embedding head."""
    embed_head = [] if model.embed_head is None else list(model.embed_head.parameters())
    return [list(model.mask_head.controller.parameters()), embed_head]


def uses(batch: Batch) -> tuple[bool, bool]:
    """Which of `optional_parts` a batch uses: masks of objects, and embeddings of objects in several frames."""
    return batch.key.labels.shape[1] > 0, batch.objects_recur()
