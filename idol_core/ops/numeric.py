"""Arithmetic that stays exact enough: an inverse sigmoid without infinities, and which numbers are kept in how many
digits."""

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


def autocast_once(x: Tensor) -> Tensor:
    """`x` as autocast would hand it to a matrix product; as it is without autocast.

    For what goes into several products: autocast by itself would make, and keep for the backward pass, a copy for each.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype == torch.float32:
        return x.to(torch.get_autocast_dtype(kind))
    return x
