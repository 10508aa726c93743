"""Arithmetic that stays exact enough: an inverse sigmoid without infinities, at least float32 for positions."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_sigmoid(p: Tensor, eps: float = 1e-5) -> Tensor:
    """log(p / (1 - p)) of values in 0..1 (clamped to it), numerator and denominator each at least `eps`."""
    p = p.clamp(0, 1)
    return (p.clamp(min=eps) / (1 - p).clamp(min=eps)).log()


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
