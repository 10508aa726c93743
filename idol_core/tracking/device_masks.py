"""Encode masks that are on a GPU: threshold and resize there, transfer one bit per pixel, make RLEs on the CPU.

`masks.encode_masks`, for the CPU, processes only the occupied rows; a GPU is faster on whole frames, as looking for
occupied rows would make it wait.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from idol_core.ops.constants import constant
from idol_core.tracking.masks import Size, compress, encode_masks, nearest_places


def encode_anywhere(mask_logits: Tensor, size: Size, original: Size) -> list[bytes]:
    """`encode_masks` for logits on any device; synchronizes with it once."""
    if mask_logits.device.type == "cpu":
        return encode_masks(mask_logits, size, original)
    return encode_changes(mask_changes(mask_logits, size, original).cpu().numpy(), original)


def mask_changes(mask_logits: Tensor, size: Size, original: Size) -> Tensor:
    """Mark the pixels where the masks of `encode_masks` change value, on the logits' device.

    Pixels are taken column by column, as in COCO's RLE; the value before the first one is 0 (background).

    Returns:
        [n, ceil(H * W / 8)] uint8, eight pixels per byte, the first in the highest bit.
    """
    logits = mask_logits.float()[:, None]
    enlarged = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)[:, 0]
    inside = enlarged[:, : size[0], : size[1]].sigmoid() > 0.5
    rows, columns = _indices(size, original, logits.device)
    flat = inside.transpose(1, 2)[:, columns][:, :, rows].flatten(1)
    before = F.pad(flat[:, :-1], (1, 0))
    changed = F.pad(flat ^ before, (0, -flat.shape[1] % 8)).to(torch.uint8)
    return (changed.unflatten(1, (-1, 8)) * _bits(logits.device)).sum(-1, dtype=torch.uint8)


def encode_changes(changes: NDArray[np.uint8], original: Size) -> list[bytes]:
    """Turn `mask_changes` into compressed COCO RLE counts, on the CPU."""
    return [compress(_places(row), original) for row in changes]


def _places(row: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Indices of the bits that are set, ascending; fast if most bytes are zero."""
    filled = np.flatnonzero(row)
    byte, bit = np.unpackbits(row[filled]).reshape(-1, 8).nonzero()
    places: NDArray[np.int64] = 8 * filled[byte] + bit
    return places


@constant()
def _bits(device: torch.device) -> Tensor:
    return torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8).to(device)


@constant()
def _indices(size: Size, original: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = (nearest_places(a, b) for a, b in zip(size, original, strict=True))
    return rows.to(device), columns.to(device)
