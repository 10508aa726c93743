"""Resize a frame inside an exported graph, to the very pixels of `data.transforms.resize_for_test`.

torch resizes bytes with weights of 15 bits, the rows first, and rounds to bytes after the rows and after the columns.
The Resize operator of ONNX does neither, so this computes the same integers. They are kept in float32 and below 2**24,
where it is exact: runtimes differ in which operators of integers they have, and some compute those in float32 anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from idol_core.tracking.masks import Size

MOST_TIMES = 64  # a side is made at most that many times smaller: the sums are exact up to there
_LOW = 8  # bits of a weight that are summed apart from the bits above


class Taps(NamedTuple):
    """How one axis is resized: new pixel i is the sum over k of weights[k, i] times the pixel at places[k, i]."""

    places: NDArray[np.int64]  # [K, new]
    weights: NDArray[np.int64]  # [K, new], 0..2**15, in units of 2**-bits
    bits: int


def taps(length: int, new: int) -> Taps:
    """Bilinear with antialiasing: weights fall linearly from the new pixel's centre, to 0 within one pixel's width.

    That is the wider of an old and a new pixel. Weights are rounded half up to as many bits as leave them below 2**15.
    """
    old, centres = np.arange(length)[:, None], np.arange(new)
    distances = np.abs((2 * old + 1) * new - (2 * centres + 1) * length)  # in units of 1 / (2 * new) old pixels
    shares = np.maximum(2 * max(length, new) - distances, 0)  # [length, new]
    first, count = (shares > 0).argmax(0), int((shares > 0).sum(0).max())
    places = first + np.arange(count)[:, None]
    inside = np.minimum(places, length - 1)
    shares = np.where(places < length, np.take_along_axis(shares, inside, 0), 0)
    sums = shares.sum(0)
    bits = next(bits for bits in range(23) if bits == 22 or _rounded(shares, sums, bits + 1).max() >= 1 << 15)
    return Taps(inside, _rounded(shares, sums, bits), bits)


def _rounded(shares: NDArray[np.int64], sums: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return (shares * (2 << bits) + sums) // (2 * sums)


class Resize(nn.Module):
    """Resize [h, w, 3] uint8 frames of one size to [H, W, 3] float32, whole numbers of 0..255."""

    def __init__(self, size: Size, new: Size) -> None:
        super().__init__()
        axes = [axis for axis in (1, 0) if size[axis] != new[axis]]
        self.passes = nn.ModuleList(_Pass(axis, taps(size[axis], new[axis])) for axis in axes)

    def forward(self, frame: Tensor) -> Tensor:
        for along in self.passes:
            frame = along(frame)
        return frame.float()


class _Pass(nn.Module):
    """Resize one axis."""

    places: Tensor  # [K, new] int64
    weights: Tensor  # [K, 2, new, 1] float32: high and low part

    def __init__(self, axis: int, by: Taps) -> None:
        super().__init__()
        self.axis, self.bits = axis, by.bits
        parts = np.stack((by.weights >> _LOW, by.weights % (1 << _LOW)), 1)
        self.register_buffer("places", torch.from_numpy(by.places))
        self.register_buffer("weights", torch.from_numpy(parts).float()[..., None])

    def forward(self, x: Tensor) -> Tensor:
        """[h, w, 3] whole numbers -> float32 of the new height or width."""
        x = x.transpose(0, self.axis)
        rows, total = x.flatten(1), torch.zeros(())
        for place, weight in zip(self.places, self.weights, strict=True):
            total = total + rows.index_select(0, place).float() * weight
        high, low = total
        carried = ((low + 2.0 ** (self.bits - 1)) * 2.0**-_LOW).floor()
        pixels = ((high + carried) * 2.0 ** (_LOW - self.bits)).floor().clamp(max=255)
        return pixels.unflatten(1, x.shape[1:]).transpose(0, self.axis)
