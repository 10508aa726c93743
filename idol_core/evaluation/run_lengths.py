"""Overlap of tracks straight from COCO run lengths; nothing is decoded to pixels.

A track is a list of compressed counts, one a frame, None where the object is absent. pycocotools computes the overlaps
of all pairs of one frame in C; intersections follow from them exactly, because they are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

Track = Sequence[bytes | None]

_MOST_DIGITS = 7  # 35 bits: more than a frame has pixels


def decode_counts(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths of compressed RLEs: all of them in one int64 array, and where each string's begin in it.

    The format: 5 bits a character (offset 48) with bit 5 as "more follows", least significant first, bit 4 of the last
    character as sign; from the fourth number on, the difference to the number two before. Raises ValueError on strings
    that are empty, hold other characters or end in the middle of a number.
    """
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    data = np.frombuffer(b"".join(strings), np.uint8) - np.uint8(48)
    last = data < 32
    ends = np.flatnonzero(last)  # of each number
    tails = np.cumsum(lengths) - 1
    if not lengths.all() or (data > 63).any() or not last[tails].all():
        raise ValueError("not a compressed RLE")
    digits = ends - np.concatenate(([-1], ends[:-1]))
    if digits.max(initial=0) > _MOST_DIGITS:
        raise ValueError("not a compressed RLE: a run length of more than 35 bits")
    top = data[ends].astype(np.int64)
    values = top - ((top & 16) << 1)
    for place in range(1, int(digits.max(initial=0))):
        longer = np.flatnonzero(digits > place)
        values[longer] = (values[longer] << 5) + (data[ends[longer] - place] & 31)
    first = np.concatenate(([0], np.searchsorted(ends, tails)[:-1] + 1)) if len(strings) else tails
    return _undo_differences(values, first), first


def _undo_differences(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Add to each number the one two before it, from each string's fourth number on."""
    count = len(values)
    sums = np.zeros(count + (count & 1) + 2, np.int64)  # two zeros in front, for the strings that have none before them
    sums[2 : count + 2] = values
    pairs = sums.reshape(-1, 2)
    np.cumsum(pairs, axis=0, out=pairs)
    # The sums run on from string to string: take off what had come up before each string's second and third number.
    numbers = np.concatenate((first[1:], [count])) - first
    even, odd = sums[first + 2], sums[first + 1]
    base = np.empty(count + (count & 1), np.int64)
    base_pairs = base.reshape(-1, 2)
    for parity in (0, 1):
        begins_here = first % 2 == parity
        members = np.where(begins_here, (numbers + 1) // 2, numbers // 2)
        column = np.repeat(np.where(begins_here, even, odd), members)
        base_pairs[: len(column), parity] = column
    decoded = sums[2 : count + 2] - base[:count]
    decoded[first] = values[first]
    return decoded


def check_counts(strings: Sequence[bytes], pixels: int) -> None:
    """Raise ValueError unless each string is a compressed RLE of exactly `pixels` pixels.

    pycocotools does not look, and may never return from comparing masks of different lengths.
    """
    if not strings:
        return
    runs, first = decode_counts(strings)
    if (runs < 0).any() or (np.add.reduceat(runs, first) != pixels).any():
        raise ValueError(f"run lengths that don't add up to the {pixels} pixels of the frame")


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
