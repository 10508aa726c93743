"""Run-length masks: any form of segmentation becomes COCO's compressed RLE (column-major runs, pycocotools)."""

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


def from_annotation(segmentation: Any, height: int, width: int) -> RLE | None:
    """Compress any form a segmentation takes in COCO and YTVIS files; None for an absent object.

    Args:
        segmentation: None; {"counts": str | bytes | list of ints, "size": [h, w]}; or a list of polygons, each a flat
            list x0, y0, x1, y1, ... in pixels. Polygons of fewer than three corners are dropped; none left: absent.

    Raises:
        Integrity: the RLE's size is not the frame's, its runs don't fill the frame, or the form is none of these.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        polygons = [p for p in segmentation if isinstance(p, list) and len(p) >= 6]
        if not polygons:
            return None
        compressed: RLE = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return compressed
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise Integrity(f"a segmentation is neither RLE nor polygons but {type(segmentation).__name__}")
    size = [int(v) for v in segmentation.get("size", (height, width))]
    if size != [height, width]:
        raise Integrity(f"an RLE has size {size}, its frame {[height, width]}")
    counts = segmentation["counts"]
    if not isinstance(counts, list | str | bytes):
        raise Integrity(f"the counts of an RLE are {type(counts).__name__}")
    if isinstance(counts, list):
        if sum(counts) != height * width or min(counts, default=0) < 0:
            raise Integrity(f"the runs of an RLE add up to {sum(counts)}, not to {height} x {width}")
        compressed = coco_mask.frPyObjects({"counts": counts, "size": size}, height, width)
        return compressed
    return RLE(size=size, counts=counts.encode("ascii") if isinstance(counts, str) else counts)


def encode(mask: NDArray[np.bool_]) -> RLE:
    """Compress a mask [h, w]."""
    compressed: RLE = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return compressed


def decode(rles: Sequence[RLE | None], height: int, width: int) -> NDArray[np.uint8]:
    """[n, h, w] masks of 0 and 1; None gives an empty one. Contiguous along h, as COCO's RLE is column-major."""
    masks = np.zeros((len(rles), width, height), np.uint8)
    present = [i for i, r in enumerate(rles) if r is not None]
    if present:
        masks[present] = coco_mask.decode([rles[i] for i in present]).transpose(2, 1, 0)
    return masks.transpose(0, 2, 1)


def run_lengths(counts: bytes, size: Sequence[int]) -> NDArray[np.int64]:
    """Run lengths (zeros first, column-major) of a compressed RLE of a frame of `size` (height, width).

    COCO's string holds numbers as groups of five bits, lowest first, each a character from "0" on: 32 is added where
    the number goes on, 16 in its last group is the sign; from the fourth on they are differences to the last but one.

    Raises:
        Integrity: the string is cut, or its runs don't fill the frame.
    """
    groups = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(groups & 32 == 0)
    runs = np.zeros(0, np.int64)
    if len(last) and last[-1] == len(groups) - 1:
        first = np.concatenate(([0], last[:-1] + 1))
        place = np.arange(len(groups)) - np.repeat(first, last - first + 1)
        runs = np.add.reduceat((groups & 31) << 5 * place, first)
        runs -= ((groups[last] & 16) > 0) * (np.int64(1) << 5 * (last - first + 1))
        runs[1::2] = np.cumsum(runs[1::2])
        runs[2::2] = np.cumsum(runs[2::2])
    if not len(runs) or runs.min() < 0 or runs.sum() != size[0] * size[1]:
        raise Integrity(f"a compressed RLE does not describe {size[0]} x {size[1]} pixels")
    return runs


def uncompressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The YTVIS form of a mask [h, w]: run lengths in column-major order, beginning with zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return {"counts": [0, *runs] if flat[0] else runs, "size": list(mask.shape)}


def to_json(rle: RLE) -> dict[str, Any]:
    """The same RLE as JSON holds it, `counts` as text."""
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
