"""COCO's compressed RLE: column-major run lengths, zeros first, as text (pycocotools)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from idol_core.errors import Integrity


class RLE(TypedDict):
    """A compressed mask: `size` [height, width] and `counts`, COCO's LEB-like string as bytes."""

    size: list[int]
    counts: bytes


def encode(mask: NDArray[np.bool_]) -> RLE:
    """Compress a mask [h, w]."""
    compressed: RLE = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return compressed


def decode(rles: Sequence[RLE | None], height: int, width: int) -> NDArray[np.uint8]:
    """Decode to masks [n, h, w] of 0 and 1; None: empty. Contiguous along h, as COCO's RLE is column-major."""
    masks = np.zeros((len(rles), width, height), np.uint8)
    present = [i for i, r in enumerate(rles) if r is not None]
    if present:
        masks[present] = coco_mask.decode([rles[i] for i in present]).transpose(2, 1, 0)
    return masks.transpose(0, 2, 1)


def mask_areas(rles: Sequence[RLE]) -> list[int]:
    """Count foreground pixels of masks with valid run lengths, in batches: pycocotools takes at most 255 at once."""
    areas: list[int] = []
    for first in range(0, len(rles), 200):
        areas += coco_mask.area(rles[first : first + 200]).tolist()
    return areas


def run_lengths(counts: bytes, size: Sequence[int]) -> NDArray[np.int64]:
    """Decode a compressed RLE of a frame of `size` (height, width) to run lengths (zeros first, column-major).

    Raises:
        Integrity: the string is no compressed RLE, or its runs don't fill the frame.
    """
    try:
        runs, _ = decode_counts([counts])
    except ValueError:
        runs = np.zeros(0, np.int64)
    if not len(runs) or runs.min() < 0 or runs.sum() != size[0] * size[1]:
        raise Integrity(f"a compressed RLE does not describe {size[0]} x {size[1]} pixels")
    return runs


def uncompressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask [h, w] as uncompressed RLE (YTVIS): run lengths in column-major order, zeros first."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return {"counts": [0, *runs] if flat[0] else runs, "size": list(mask.shape)}


def to_json(rle: RLE) -> dict[str, Any]:
    """Convert an RLE for JSON: `counts` as text."""
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


_MOST_DIGITS = 7  # 35 bits: more than a frame has pixels


def decode_counts(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Decode several compressed RLEs: all run lengths in one int64 array, and the start of each string's runs in it.

    The format: 5 bits a character (offset 48) with bit 5 as "more follows", least significant first, bit 4 of the last
    character as sign; from the fourth number on, the difference to the number two before. Raises ValueError on strings
    that are empty, hold other characters or end in the middle of a number.
    """
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    data = np.frombuffer(b"".join(strings), np.uint8) - np.uint8(48)
    last = data < 32
    ends = np.flatnonzero(last)  # last character of each number
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
    """Undo the difference coding: from each string's fourth number on, add the number two before it."""
    count = len(values)
    sums = np.zeros(count + (count & 1) + 2, np.int64)  # two leading zeros, for numbers with no predecessor
    sums[2 : count + 2] = values
    pairs = sums.reshape(-1, 2)
    np.cumsum(pairs, axis=0, out=pairs)
    # The sums run across strings: subtract what had accumulated before each string's second and third number.
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

    pycocotools does not check this, and may hang when it compares masks of different lengths.
    """
    areas_of(strings, np.full(len(strings), pixels, np.int64))


def areas_of(strings: Sequence[bytes], pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count foreground pixels of compressed RLEs; `pixels` has the frame size (height * width) of each.

    Raises ValueError, as `check_counts`, if one is malformed or does not fill its frame.
    """
    if not strings:
        return np.zeros(0, np.int64)
    runs, first = decode_counts(strings)
    short = np.flatnonzero(np.add.reduceat(runs, first) != pixels)
    if len(short) or (runs < 0).any() or (runs > pixels.max()).any():
        frame = int(pixels[short[0]]) if len(short) else int(pixels[0])
        raise ValueError(f"run lengths that don't add up to the {frame} pixels of the frame")
    odd = np.zeros(len(runs), bool)
    odd[1::2] = True
    odd ^= np.repeat(first % 2 == 1, np.diff(np.append(first, len(runs))))
    return np.add.reduceat(runs * odd, first)
