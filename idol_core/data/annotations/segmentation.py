"""Read the mask formats of COCO and YouTube-VIS files: polygons, compressed and uncompressed RLE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.data.annotations.fields import NUMBERS, as_integer, shown
from idol_core.data.annotations.rle import RLE

# Oddities of a mask, as bit flags.
SLIVER = 1  # polygons of fewer than three corners were dropped
NORMALISED = 2  # all coordinates lie within 0..1, so they are probably fractions of the frame
OUTSIDE = 4  # a polygon lies outside of the frame

_MOST_LENGTH = 2_000_000  # longest polygon outline in pixels: pycocotools needs 100 bytes per pixel


class Read(NamedTuple):
    """A parsed mask: None if the object is absent; `flags` combines SLIVER, NORMALISED and OUTSIDE.

    `drawn`: encoded here, from polygons or a list of run lengths, so it fills its frame; compressed counts from the
    file are unchecked and may not.
    """

    rle: RLE | None
    flags: int = 0
    drawn: bool = True


_ABSENT = Read(None)


def read_segmentation(value: Any, height: int, width: int) -> Read:
    """Read the mask of one object in a frame of `height` x `width` pixels.

    Args:
        value: null or [] (absent); an RLE {"counts": text or list of run lengths, "size": [h, w]}, also in a list; a
            list of polygons, each a flat list x0, y0, x1, y1, ... in pixels; one such flat list. Polygons of fewer
            than three corners are dropped; none left: absent.

    Raises:
        ValueError: any other form, such as a list of points; coordinates that are no finite numbers, or lie more than
            the frame's size outside of it; an RLE of another size, or run lengths in a list that do not fill the
            frame. Compressed counts are not checked here; see `rle.check_counts`.
    """
    if value is None:
        return _ABSENT
    if isinstance(value, Mapping):
        return _rle(value, height, width)
    if not isinstance(value, list):
        raise ValueError(f"the segmentation {shown(value)} is neither RLE nor polygons")
    if not value:
        return _ABSENT
    kinds = set(map(type, value))
    if kinds == {list}:
        return _polygons(value, height, width)
    if kinds <= NUMBERS:
        return _polygons([value], height, width)
    if kinds == {dict} and len(value) == 1 and "counts" in value[0]:
        return _rle(value[0], height, width)
    raise ValueError("the segmentation is a list of neither polygons (flat lists x0, y0, x1, y1, ...) nor one RLE")


def _rle(value: Mapping[str, Any], height: int, width: int) -> Read:
    if "counts" not in value:
        raise ValueError("the segmentation is an object without `counts`: neither RLE nor polygons")
    counts, size = value["counts"], value.get("size", [height, width])
    if not isinstance(size, list | tuple) or [as_integer(v) for v in size] != [height, width]:
        raise ValueError(f"an RLE has size {str(size)[:60]}, its frame {[height, width]}")
    if isinstance(counts, str | bytes):
        if not counts:
            raise ValueError("the counts of an RLE are empty")
        text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        return Read(RLE(size=[height, width], counts=text), drawn=False)
    if not isinstance(counts, list):
        raise ValueError(f"the counts of an RLE are {shown(counts)}, neither text nor a list")
    if set(map(type, counts)) - {int}:
        raise ValueError("the run lengths of an RLE are not all integers")
    if not counts or min(counts) < 0 or sum(counts) != height * width:
        raise ValueError(f"the run lengths of an RLE do not add up to the {height} x {width} pixels of the frame")
    return Read(coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width))


def _polygons(polygons: Sequence[list[Any]], height: int, width: int) -> Read:
    kept, flags = [], 0
    low = high = 0.0
    for polygon in polygons:
        if not NUMBERS.issuperset(map(type, polygon)):
            raise ValueError(
                "a polygon must be a flat list of numbers x0, y0, x1, y1, ..., not points, names or further lists"
            )
        if len(polygon) < 6:
            flags |= SLIVER
            continue
        if len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers: they must be pairs x, y")
        xs, ys = polygon[::2], polygon[1::2]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
        _check_range(polygon, left, right, top, bottom, height, width)
        if right <= 0 or left >= width or bottom <= 0 or top >= height:
            flags |= OUTSIDE
        low, high = min(low, left, top), max(high, right, bottom)
        kept.append(polygon)
    if len(polygons) > 2 and all(len(polygon) == 2 for polygon in polygons):
        raise ValueError("a list of points [x, y] is no segmentation: a polygon is a flat list x0, y0, x1, y1, ...")
    if not kept:
        return Read(None, flags)
    if low >= 0 and high <= 1 and min(height, width) > 4:
        flags |= NORMALISED
    shapes = coco_mask.frPyObjects(kept, height, width)
    return Read(shapes[0] if len(shapes) == 1 else coco_mask.merge(shapes), flags)


def _check_range(
    polygon: list[Any], left: float, right: float, top: float, bottom: float, height: int, width: int
) -> None:
    """Raise ValueError if a polygon is invalid or would take too much memory to draw."""
    inside = -width <= left and right <= 2 * width and -height <= top and bottom <= 2 * height
    try:
        inside = inside and math.isfinite(sum(polygon))  # min and max may miss a NaN
    except OverflowError:
        inside = False
    if not inside:
        raise ValueError(
            f"a polygon with coordinates that are not finite, or far outside its frame of {height} x {width}"
        )
    if len(polygon) * (right - left + bottom - top) > _MOST_LENGTH:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        length = np.abs(points - np.roll(points, 1, 0)).max(1).sum()
        if length > _MOST_LENGTH:
            raise ValueError(f"a polygon {length:.0f} pixels long, over the limit of {_MOST_LENGTH}")
