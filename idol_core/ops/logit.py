"""The inverse of the sigmoid, kept finite."""

from __future__ import annotations

from torch import Tensor


def inverse_sigmoid(p: Tensor, eps: float = 1e-5) -> Tensor:
    """log(p / (1 - p)) of values in 0..1 (clamped to it), numerator and denominator each at least `eps`."""
    p = p.clamp(0, 1)
    return (p.clamp(min=eps) / (1 - p).clamp(min=eps)).log()
