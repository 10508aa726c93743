"""Numerics: an inverse sigmoid without infinities, limits of float32, casts to float32 or to autocast's dtype."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def inverse_sigmoid(p: Tensor, eps: float = 1e-5) -> Tensor:
    """log(p / (1 - p)) of values in 0..1 (clamped to it), numerator and denominator each at least `eps`."""
    p = p.clamp(0, 1)
    return (p.clamp(min=eps) / (1 - p).clamp(min=eps)).log()


def largest_float32(limit: float) -> float:
    """The largest float32 up to `limit`: a float32 is above it exactly if it is above `limit`."""
    nearest = np.float32(limit)
    return float(nearest if nearest <= limit else np.nextafter(nearest, np.float32(-np.inf)))


def at_least_float32(x: Tensor) -> Tensor:
    """Cast float16 and bfloat16 to float32; return float32 and float64 unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def autocast_once(x: Tensor) -> Tensor:
    """Cast `x` to the dtype that autocast uses for matrix products; unchanged without autocast.

    For inputs of several products: autocast itself would make a copy for each and keep it for the backward pass.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype == torch.float32:
        return x.to(torch.get_autocast_dtype(kind))
    return x
