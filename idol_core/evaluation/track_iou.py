"""Overlap of tracks straight from COCO run lengths; nothing is decoded to pixels.

A track is a list of compressed counts, one a frame, None where the object is absent. pycocotools computes the overlaps
of all pairs of one frame in C; intersections follow from them exactly, because they are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

Track = Sequence[bytes | None]


def frame_areas(track: Track, height: int, width: int) -> np.ndarray:
    """[frames] float64, foreground pixels; 0 where the object is absent."""
    areas = np.zeros(len(track))
    present = [i for i, counts in enumerate(track) if counts is not None]
    if present:
        areas[present] = coco_mask.area([{"size": [height, width], "counts": track[i]} for i in present])
    return areas


def track_iou(
    a: Sequence[Track], b: Sequence[Track], areas_a: np.ndarray, areas_b: np.ndarray, *, height: int, width: int
) -> np.ndarray:
    """IoU of every track of `a` with every one of `b`, [len(a), len(b)] float64; 0 for two that are empty throughout.

    Sum of intersections over sum of unions, over the frames (YouTube-VIS, Yang et al. 2019, section 3). The counts must
    have passed `check_counts`; `areas_*` [tracks, frames] are their `frame_areas`.
    """
    inter = np.zeros((len(a), len(b)))
    if not inter.size:
        return inter
    size = [height, width]
    absent = coco_mask.frPyObjects({"size": size, "counts": [height * width]}, height, width)
    masks_a = [[absent if c is None else {"size": size, "counts": c} for c in track] for track in a]
    masks_b = [[absent if c is None else {"size": size, "counts": c} for c in track] for track in b]
    ordinary = [0] * len(b)  # no crowd rule in video scores
    frames = np.flatnonzero(areas_a.any(0) & areas_b.any(0))
    if len(frames):
        ious = np.stack([coco_mask.iou([m[f] for m in masks_a], [m[f] for m in masks_b], ordinary) for f in frames])
        both = areas_a.T[frames, :, None] + areas_b.T[frames, None, :]
        inter = np.rint(ious * both / (1 + ious)).sum(0)
    union = areas_a.sum(1)[:, None] + areas_b.sum(1) - inter
    iou: np.ndarray = inter / np.maximum(union, 1)
    return iou
