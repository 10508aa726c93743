"""Gradient checkpointing (Chen et al. 2016): less memory for more time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *args: object, enabled: bool) -> Tensor:
    """Call `function(*args)`. If `enabled` and gradients are needed, only the arguments are saved and the backward pass
    calls the function again, with the same random numbers: gradients are bit-identical."""
    if not enabled or not torch.is_grad_enabled():
        return function(*args)
    result: Tensor = checkpoint(function, *args, use_reentrant=False)
    return result
