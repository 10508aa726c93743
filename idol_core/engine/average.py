"""Exponential moving average of a model's weights (Polyak averaging), kept beside the model during training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from idol_core.model.idol import IDOL


class Average:
    """The averaged model, `model`: a copy whose trainable weights follow those of the trained one.

    After update number n (from 1) the decay is min(`decay`, (1 + n) / (10 + n)), so that a short run doesn't keep its
    first weights. An update depends on the weights and on n only: all processes of a group have the same average.
    """

    def __init__(self, trained: IDOL, decay: float) -> None:
        self.model = copy.deepcopy(trained)
        self.decay = decay
        own = dict(self.model.named_parameters())
        pairs = [(own[name], value) for name, value in trained.named_parameters() if value.requires_grad]
        self._averaged: list[Tensor] = [average for average, _ in pairs]
        self._trained: list[Tensor] = [value for _, value in pairs]
        self.model.requires_grad_(False)

    def start(self, trained: nn.Module) -> None:
        """Begin with the weights of the trained model."""
        self.model.load_state_dict(trained.state_dict())

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Take in the weights after step `number` (from 1)."""
        decay = min(self.decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(self._averaged, self._trained, 1 - decay)
