"""Gradient checkpointing (Chen et al. 2016): less memory for more time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

_T = TypeVar("_T")


def recomputed(function: Callable[..., _T], *args: object, enabled: bool) -> _T:
    """Call `function(*args)`. If `enabled` and gradients are needed, only the arguments are saved and the backward pass
    calls the function again, with the same random numbers: gradients are bit-identical."""
    if not enabled or not torch.is_grad_enabled():
        return function(*args)
    result: _T = checkpoint(function, *args, use_reentrant=False)
    return result
