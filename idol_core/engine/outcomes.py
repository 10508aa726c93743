"""Losses and gradient norms of training steps, read from the device seldom: every reading makes the host wait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from idol_core.engine.distributed import Group
from idol_core.engine.not_finite import refuse_not_finite


class _Step(NamedTuple):
    iteration: int
    norm: Tensor  # 0-d, before clipping
    losses: Tensor  # [micro-batches, names]
    names: tuple[str, ...]
    sample_ids: tuple[tuple[str, ...], ...]  # of each micro-batch


class Outcomes:
    """The outcomes of steps since they were last read.

    Args:
        scaled: gradients are scaled up for fp16, so one that is not finite is no error while the losses are finite.
        at_once: read every step as it is added, as on a CPU, where that costs nothing.
    """

    def __init__(self, group: Group, *, scaled: bool, at_once: bool) -> None:
        self._group, self._scaled, self.at_once = group, scaled, at_once
        self._unread: list[_Step] = []
        self._norm = 0.0

    def add(
        self, iteration: int, losses: Sequence[dict[str, Tensor]], norm: Tensor, sample_ids: Sequence[tuple[str, ...]]
    ) -> None:
        """Add a step: the losses (0-d each) and the items of every micro-batch of this process, and the joint norm."""
        values = torch.stack([value for part in losses for value in part.values()]).view(len(losses), -1)
        self._unread.append(_Step(iteration, norm, values, tuple(losses[0]), tuple(sample_ids)))
        if self.at_once:
            self.read()

    def read(self) -> float:
        """Wait for all steps added so far; returns the gradient norm of the last.

        Raises IdolError, in all processes of the group, for the first step that is not finite. All must call this after
        the same step.
        """
        unread, self._unread = self._unread, []
        if unread:
            norms = torch.stack([step.norm for step in unread]).tolist()
            for step, self._norm in zip(unread, norms, strict=True):
                if not math.isfinite(self._norm):
                    self._refuse(step)
        return self._norm

    def _refuse(self, step: _Step) -> None:
        losses = [dict(zip(step.names, part, strict=True)) for part in step.losses.cpu()]
        refuse_not_finite(step.iteration, losses, step.sample_ids, self._group, scaled=self._scaled)
