"""Sample masks of augmented frames directly from run lengths, without decoding whole frames (fast for small objects).

Each target pixel takes the value of the source pixel under its centre, as with PIL's NEAREST.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idol_core.data.annotations.rle import RLE, run_lengths
from idol_core.data.transforms import Geometry


class SampledMasks(NamedTuple):
    """n masks of a transformed frame of H x W pixels."""

    masks: NDArray[np.uint8]  # [n, H, W] of 0 and 1
    boxes: NDArray[np.float32]  # [n, 4] half-open xyxy in pixels, tight; zeros where nothing is visible
    present: NDArray[np.bool_]  # [n] whether any pixel is visible


def sample_masks(rles: Sequence[RLE | None], size: tuple[int, int], geometry: Geometry) -> SampledMasks:
    """Apply a geometry to the masks of a frame of `size` (height, width); returns masks and boxes."""
    rows, columns = source_pixels(size, geometry)
    masks = np.zeros((len(rles), len(rows), len(columns)), np.uint8)
    boxes = np.zeros((len(rles), 4), np.float32)
    for mask, box, rle in zip(masks, boxes, rles, strict=True):
        if rle is not None:
            _sample(rle, size, rows, columns, mask[:, ::-1] if geometry.flip else mask, box)
    if geometry.flip:
        left, right = boxes[:, 0].copy(), boxes[:, 2].copy()
        boxes[:, 0], boxes[:, 2] = len(columns) - right, len(columns) - left
    present = boxes[:, 3] > 0
    boxes[~present] = 0
    return SampledMasks(masks, boxes, present)


def source_pixels(size: tuple[int, int], geometry: Geometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Source row of every row, and source column of every column, of a transformed frame, before the flip."""
    axes = []
    for axis in (0, 1):
        index = np.arange(size[axis])
        if geometry.resize:
            index = index[nearest(size[axis], geometry.resize[axis])]
        if geometry.crop:
            start = geometry.crop[axis]
            index = index[start : start + geometry.crop[2 + axis]]
        axes.append(index[nearest(len(index), geometry.size[axis])])
    return axes[0], axes[1]


def nearest(source: int, target: int) -> NDArray[np.int64]:
    """[target] index of the source pixel under the centre of each target pixel."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _sample(
    rle: RLE,
    size: tuple[int, int],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    mask: NDArray[np.uint8],
    box: NDArray[np.float32],
) -> None:
    """Write one mask and its box into `mask` and `box`; both stay unchanged if nothing is visible."""
    height = size[0]
    edges = np.cumsum(run_lengths(rle["counts"], size))
    starts, stops = edges[: len(edges) // 2 * 2 : 2], edges[1::2]
    first, last = int(columns[0]) * height, (int(columns[-1]) + 1) * height
    inside = slice(np.searchsorted(stops, first, side="right"), np.searchsorted(starts, last))
    starts, stops = starts[inside].clip(first, last), stops[inside].clip(first, last)
    if not len(starts):
        return
    left, right = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1  # source columns with foreground
    strip = np.zeros((right - left) * height, np.uint8)
    for start, stop in zip((starts - left * height).tolist(), (stops - left * height).tolist(), strict=True):
        strip[start:stop] = 1
    j0, j1 = np.searchsorted(columns, (left, right)).tolist()
    window = strip.reshape(-1, height)[columns[j0:j1] - left]
    used = np.flatnonzero(window.any(0))
    if not len(used):
        return
    i0, i1 = np.searchsorted(rows, (used[0], used[-1] + 1)).tolist()
    window = window[:, rows[i0:i1]]
    xs, ys = np.flatnonzero(window.any(1)), np.flatnonzero(window.any(0))
    if not len(xs):
        return
    mask[i0:i1, j0:j1] = window.T
    box[:] = j0 + xs[0], i0 + ys[0], j0 + xs[-1] + 1, i0 + ys[-1] + 1
