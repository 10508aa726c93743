"""Convert mask logits to COCO RLE in the original frame's size, computing only the rows that may be occupied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

Size = tuple[int, int]  # (height, width) in pixels


def encode_masks(mask_logits: Tensor, size: Size, original: Size) -> list[bytes]:
    """Encode masks as they are reported: compressed COCO RLE counts of each, in the original frame's size.

    Logits are enlarged four times (bilinear), turned into probabilities, cropped to the frame without padding, resized
    to the original (nearest) and thresholded: foreground is above .5.

    Args:
        mask_logits: [n, h/4, w/4] over the padded frame.
        size: of the frame in the network, without padding.
        original: size of the frame before it was resized for the network.
    """
    mask_logits = mask_logits.float()
    occupied = (mask_logits > 0).any(2).cpu().numpy()  # [n, h/4]
    rows, columns = nearest_indices(size[0], original[0]), nearest_indices(size[1], original[1])
    return [_encode(*part, size, original, rows, columns) for part in zip(mask_logits, occupied, strict=True)]


def decode_masks(counts: Sequence[bytes], original: Size) -> NDArray[np.bool_]:
    """Decode compressed RLE counts to masks, [n, H, W] bool."""
    if not counts:
        return np.zeros((0, *original), bool)
    decoded = coco_mask.decode([{"size": list(original), "counts": one} for one in counts])
    masks: NDArray[np.bool_] = decoded.transpose(2, 0, 1).view(bool)
    return masks


def nearest_indices(source: int, target: int) -> NDArray[np.int64]:
    """`nearest_places` as an array."""
    indices: NDArray[np.int64] = nearest_places(source, target).numpy()
    return indices


def nearest_places(source: int, target: int) -> Tensor:
    """Source index of each target index in torch's nearest interpolation: [target] int64, ascending."""
    places = torch.arange(source, dtype=torch.float32)[None, None]
    return F.interpolate(places, size=target, mode="nearest")[0, 0].long()


def _encode(
    logits: Tensor,
    occupied: NDArray[np.bool_],
    size: Size,
    original: Size,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> bytes:
    """Encode one mask. Bilinear values lie between their source logits: rows far from a positive one are background."""
    positive = np.flatnonzero(occupied)
    if not len(positive):
        return compress(np.zeros(0, np.int64), original)
    top, bottom = max(int(positive[0]) - 2, 0), int(positive[-1]) + 3
    band = F.interpolate(logits[None, None, top:bottom], scale_factor=4, mode="bilinear", align_corners=False)[0, 0]
    # Compare the probability, not the logit: in float32, sigmoid of the smallest positive logits is exactly .5.
    inside = (band[: max(size[0] - 4 * top, 0), : size[1]].sigmoid() > 0.5).cpu().numpy()
    filled = np.flatnonzero(inside.any(0))
    if not len(filled):
        return compress(np.zeros(0, np.int64), original)
    y0, y1 = np.searchsorted(rows, (4 * top, 4 * top + len(inside)))
    x0, x1 = np.searchsorted(columns, (filled[0], filled[-1] + 1))
    strip = np.ascontiguousarray(inside[rows[y0:y1] - 4 * top, filled[0] : filled[-1] + 1].T)
    area = np.zeros((x1 - x0, original[0]), bool)
    area[:, y0:y1] = strip[columns[x0:x1] - filled[0]]
    flat = area.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate(([0], changes))
    if flat.size and flat[-1]:
        changes = np.concatenate((changes, [flat.size]))
    return compress(changes + x0 * original[0], original)


def compress(changes: NDArray[np.int64], original: Size) -> bytes:
    """Compressed RLE counts of a mask whose value changes at these pixels (column by column, 0 before the first)."""
    pixels = original[0] * original[1]
    if len(changes) and changes[-1] == pixels:
        changes = changes[:-1]
    counts = np.diff(changes, prepend=0, append=pixels).astype(np.uint32)
    return bytes(coco_mask.frPyObjects({"size": list(original), "counts": counts}, *original)["counts"])
