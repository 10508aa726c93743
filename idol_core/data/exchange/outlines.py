"""Trace masks into polygons that a labelling tool can edit: few corners, and at least 0.99 IoU with the mask.

A hole, and for tools that hold one polygon per object a second part, is joined to the outline by a slit of no width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.labels import Mask, Polygons, as_array, as_rle

LEAST_IOU = 0.99
_TOLERANCES = (0.5, 1.0, 2.0)  # pixels that a simplified outline may lie off the edges of the pixels
_RIGHT, _DOWN, _LEFT, _UP = range(4)
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))

Points = NDArray[np.float64]  # [n, 2] x, y in pixels


def polygons_of(mask: Mask, height: int, width: int) -> Polygons:
    """The parts of an object as polygons; what is polygons already stays as it is. An empty mask: ()."""
    return mask if isinstance(mask, tuple) else _simplified(mask, height, width, joined=False)


def one_polygon(mask: Mask, height: int, width: int) -> tuple[float, ...]:
    """The object as one polygon, x0, y0, x1, y1, ...; an empty mask: ()."""
    if isinstance(mask, tuple) and len(mask) <= 1:
        return mask[0] if mask else ()
    found = _simplified(as_rle(mask, height, width), height, width, joined=True)
    return found[0] if found else ()


def _simplified(rle: RLE, height: int, width: int, *, joined: bool) -> Polygons:
    """The polygons with the fewest corners that still overlap the mask by LEAST_IOU; else the exact ones."""
    parts = _traced(as_array(rle, height, width))
    found: Polygons | None = None
    for tolerance in _TOLERANCES:
        polygons = _polygons(parts, tolerance, joined=joined)
        if _iou(polygons, rle, height, width) < LEAST_IOU:
            break
        found = polygons
    return found if found is not None else _polygons(parts, 0.0, joined=joined)


def _polygons(parts: list[list[Points]], tolerance: float, *, joined: bool) -> Polygons:
    outlines = [_with_holes([_thinned(loop, tolerance) for loop in loops]) for loops in parts]
    if joined and outlines:
        outlines = [_with_holes(outlines)]
    return tuple(tuple(outline.ravel().tolist()) for outline in outlines if len(outline) > 2)


def _iou(polygons: Polygons, rle: RLE, height: int, width: int) -> float:
    if not polygons:
        return 0.0
    return float(coco_mask.iou([as_rle(polygons, height, width)], [rle], [0])[0, 0])


def _traced(mask: NDArray[np.bool_]) -> list[list[Points]]:
    """Closed loops along the edges of the pixels of every connected part: its outline first, then its holes."""
    from scipy import ndimage  # takes a second to import, which commands that only read should not wait for

    labels, _ = ndimage.label(mask)
    parts: list[list[Points]] = []
    for part, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        loops = _loops(labels[rows, columns] == part)
        loops.sort(key=lambda loop: -abs(_area(loop)))
        parts.append([loop + np.array((columns.start, rows.start)) for loop in loops])
    return parts


def _loops(mask: NDArray[np.bool_]) -> list[Points]:
    """Follow the pixel edges of one connected part, foreground on the right; only corners are kept."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    edges: dict[tuple[int, int], list[int]] = {}
    sides = (
        (inner & ~padded[:-2, 1:-1], 0, 0, _RIGHT),
        (inner & ~padded[1:-1, 2:], 1, 0, _DOWN),
        (inner & ~padded[2:, 1:-1], 1, 1, _LEFT),
        (inner & ~padded[1:-1, :-2], 0, 1, _UP),
    )
    for side, dx, dy, direction in sides:
        for y, x in np.argwhere(side).tolist():
            edges.setdefault((x + dx, y + dy), []).append(direction)
    loops = []
    while edges:
        start = next(iter(edges))
        place, direction, corners = start, edges[start][0], list[tuple[int, int]]()
        before = -1
        while place in edges:
            ways = edges[place]
            turned = (before + 1) % 4  # at a corner that two pixels share, stay with the same pixel
            direction = turned if before >= 0 and turned in ways else ways[0]
            ways.remove(direction)
            if not ways:
                del edges[place]
            if direction != before:
                corners.append(place)
            before = direction
            place = (place[0] + _STEPS[direction][0], place[1] + _STEPS[direction][1])
            if place == start:
                break
        loops.append(np.array(corners, np.float64))
    return loops


def _area(loop: Points) -> float:
    x, y = loop.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _thinned(loop: Points, tolerance: float) -> Points:
    """Leave out corners of a closed loop that lie within `tolerance` of the line without them (Douglas, Peucker).

    All segments are split at once, round by round, each at the corner that lies farthest off.
    """
    if tolerance == 0 or len(loop) < 4:
        return loop
    far = int(np.hypot(*(loop - loop[0]).T).argmax())
    closed = np.vstack([loop, loop[:1]])
    kept = np.array([0, far, len(loop)])
    while True:
        segment = np.repeat(np.arange(len(kept) - 1), np.diff(kept))  # of each corner
        off = _distances(loop, closed[kept[segment]], closed[kept[segment + 1]])
        worst = np.maximum.reduceat(off, kept[:-1])
        farthest = np.flatnonzero((off == worst[segment]) & (off > tolerance))
        if not len(farthest):
            return loop[kept[:-1]]
        _, first = np.unique(segment[farthest], return_index=True)
        kept = np.sort(np.concatenate([kept, farthest[first]]))


def _distances(points: Points, starts: Points, stops: Points) -> NDArray[np.float64]:
    """[n] distance of points [n, 2] from segments, each between two points [n, 2]."""
    along, away = stops - starts, points - starts
    length = (along**2).sum(1)
    fraction = np.clip((away * along).sum(1) / np.where(length == 0, 1, length), 0, 1)
    return np.hypot(*(away - fraction[:, None] * along).T)


def _with_holes(loops: list[Points]) -> Points:
    """Join loops into one by slits between their nearest corners; loops of under three corners are dropped."""
    loops = [loop for loop in loops if len(loop) > 2]
    if not loops:
        return np.zeros((0, 2))
    whole, *others = loops
    for loop in others:
        gaps = ((whole[:, None] - loop) ** 2).sum(2)
        i, j = (int(v) for v in np.unravel_index(gaps.argmin(), gaps.shape))
        whole = np.vstack([whole[: i + 1], loop[j:], loop[: j + 1], whole[i:]])
    return whole
