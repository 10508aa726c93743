"""Compute overlaps of tracks directly from COCO run lengths, without decoding to pixels.

A track is a list of compressed counts, one per frame, None where the object is absent. pycocotools computes the
overlaps of all pairs of one frame in C; intersections follow from them exactly, because they are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.data.annotations.rle import RLE, mask_areas

Track = Sequence[bytes | None]


def frame_areas(track: Track, height: int, width: int) -> np.ndarray:
    """[frames] float64, foreground pixels; 0 where the object is absent."""
    areas = np.zeros(len(track))
    present = {i: RLE(size=[height, width], counts=counts) for i, counts in enumerate(track) if counts is not None}
    areas[list(present)] = mask_areas(list(present.values()))
    return areas


def track_iou(
    a: Sequence[Track], b: Sequence[Track], areas_a: np.ndarray, areas_b: np.ndarray, *, height: int, width: int
) -> np.ndarray:
    """IoU of every track of `a` with every one of `b`, [len(a), len(b)] float64; 0 if both are empty in all frames.

    Sum of intersections over sum of unions, over the frames (YouTube-VIS, Yang et al. 2019, section 3). The counts must
    have passed `check_counts`; `areas_*` [tracks, frames] are their `frame_areas`.
    """
    inter = frame_intersections(a, b, areas_a, areas_b, height=height, width=width).sum(0)
    union = areas_a.sum(1)[:, None] + areas_b.sum(1) - inter
    iou: np.ndarray = inter / np.maximum(union, 1)
    return iou


def frame_intersections(
    a: Sequence[Track], b: Sequence[Track], areas_a: np.ndarray, areas_b: np.ndarray, *, height: int, width: int
) -> np.ndarray:
    """Pixels that tracks of `a` and `b` have in common in each frame, [frames, len(a), len(b)] float64.

    The arguments are those of `track_iou`.
    """
    size = [height, width]
    inter = np.zeros((areas_a.shape[1], len(a), len(b)))
    for frame in np.flatnonzero(areas_a.any(0) & areas_b.any(0)).tolist():
        rows, columns = np.flatnonzero(areas_a[:, frame]), np.flatnonzero(areas_b[:, frame])
        masks_a = [{"size": size, "counts": a[row][frame]} for row in rows.tolist()]
        masks_b = [{"size": size, "counts": b[column][frame]} for column in columns.tolist()]
        ious = coco_mask.iou(masks_a, masks_b, [0] * len(columns))  # video scores don't use COCO's crowd rule
        both = areas_a[rows, frame, None] + areas_b[columns, frame]
        inter[frame, rows[:, None], columns] = np.rint(ious * both / (1 + ious))
    return inter
