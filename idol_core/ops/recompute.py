"""Gradient checkpointing (Chen et al. 2016): time for memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *args: object, enabled: bool) -> Tensor:
    """`function(*args)`. Where `enabled`, and gradients are wanted, the backward pass keeps the arguments alone and
    calls the function again, with the same random numbers: gradients are the same to the last bit."""
    if not enabled or not torch.is_grad_enabled():
        return function(*args)
    result: Tensor = checkpoint(function, *args, use_reentrant=False)
    return result
