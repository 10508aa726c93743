"""Interpolate polygons between key frames as CVAT does.

CVAT compares the two outlines by arc length: each corner is paired with the corner of the other outline at the nearest
fraction of the length, so that outlines of different numbers of corners can be interpolated; then corners that lie
closer than half the mean distance of their segment are merged (CVAT, TrackManager.get_interpolated_shapes).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idol_core.data.exchange.labels import Mask, polygon_mask

Points = NDArray[np.float64]  # [n, 2] x, y in pixels


class Shape(NamedTuple):
    """A shape of a track in one frame."""

    mask: Mask | None  # None: outside
    points: np.ndarray | None  # [n, 2] of a polygon, for interpolation


def corners_between(shapes: dict[int, Shape]) -> int:
    """Most corners of the polygons that `masks_of_track` will make."""
    pairs = itertools.pairwise(sorted(shapes.items()))
    return sum(
        (after - before - 1) * (len(one.points) + len(other.points))
        for (before, one), (after, other) in pairs
        if one.mask is not None and one.points is not None and other.points is not None
    )


def masks_of_track(shapes: dict[int, Shape], length: int, height: int, width: int) -> dict[int, Mask]:
    """A mask for every frame in which the track is visible.

    A polygon is interpolated up to the next one and stays as it is after the last one; a mask is of its frame only.
    """
    masks: dict[int, Mask] = {}
    ordered = sorted(shapes.items())
    for place, (t, shape) in enumerate(ordered):
        if shape.mask is None:
            continue
        masks[t] = shape.mask
        if shape.points is None:
            continue
        if place + 1 == len(ordered):
            masks |= dict.fromkeys(range(t + 1, length), shape.mask)
            continue
        following, after = ordered[place + 1]
        if after.points is not None:
            for between in range(t + 1, min(following, length)):
                moved = interpolate_polygon(shape.points, after.points, (between - t) / (following - t))
                mask = polygon_mask([moved.ravel().tolist()], height, width)
                if mask:
                    masks[between] = mask
    return masks


def interpolate_polygon(left: Points, right: Points, fraction: float) -> Points:
    """Outline at `fraction` (0..1) of the way from `left` [n, 2] to `right` [m, 2]; both are open (not closed)."""
    left, right = np.vstack([left, left[:1]]), np.vstack([right, right[:1]])
    pairs = _pairs(_fractions(left), _fractions(right))
    moved = [left[i] + (right[j] - left[i]) * fraction for i, partners in enumerate(pairs) for j in partners]
    return _thinned(moved, pairs, left, right)[:-1]


def _fractions(points: Points) -> Points:
    """[n] length of the line up to each point, as a fraction of its whole length."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    return lengths / lengths[-1] if lengths[-1] else lengths


def _pairs(left: Points, right: Points) -> list[list[int]]:
    """For each left point the right points that it is paired with, ascending, at least one."""
    nearest = _nearest(left, right)
    pairs = [[int(j)] for j in nearest]
    alone = sorted(set(range(len(right))) - set(nearest.tolist()))
    if alone:
        for i, j in zip(_nearest(right[alone], left).tolist(), alone, strict=True):
            pairs[i].append(j)
    return [sorted(partners) for partners in pairs]


def _nearest(values: Points, ascending: Points) -> NDArray[np.intp]:
    """For each value [n] the index of the nearest of `ascending` [m], the first of equally near ones."""
    above = np.minimum(ascending.searchsorted(values), len(ascending) - 1)
    below = np.maximum(above - 1, 0)
    lower, upper = ascending[below], ascending[above]
    return ascending.searchsorted(np.where(np.abs(lower - values) <= np.abs(upper - values), lower, upper))


def _thinned(moved: list[Points], pairs: list[list[int]], left: Points, right: Points) -> Points:
    """Merge moved points that lie close together, segment by segment.

    A segment is a run of left points that have one partner each, or one left point with several partners. A run of
    points that share their first partner begins anew where the partner changes.
    """
    first = np.concatenate([[0], np.cumsum([len(partners) for partners in pairs])]).tolist()
    kept: list[Points] = []

    def close_run(start: int, stop: int) -> None:
        if first[start] == first[stop]:
            kept.append(moved[first[start]])
        else:
            kept.extend(_sparse(moved[first[start] : first[stop] + 1], left[start : stop + 1]))

    opened: int | None = None
    for i, partners in enumerate(pairs):
        if len(partners) > 1:
            if opened is not None:
                close_run(opened, i - 1)
                opened = None
            kept.extend(_sparse(moved[first[i] : first[i + 1]], right[partners[0] : partners[-1] + 1]))
        elif opened is None:
            opened = i
        elif partners[0] != pairs[opened][0]:
            close_run(opened, i - 1)
            opened = i
    if opened is not None:
        close_run(opened, len(pairs) - 1)
    return np.array(kept)


def _sparse(moved: list[Points], base: Points) -> list[Points]:
    """Drop inner points closer to the last kept one than half the mean distance of the points of `base`."""
    threshold = np.hypot(*np.diff(base, axis=0).T).sum() / (2 * len(base))
    kept = [moved[0]]
    for point in moved[1:-1]:
        if np.hypot(*(point - kept[-1])) >= threshold:
            kept.append(point)
    kept.append(moved[-1])
    if len(kept) == 2 and np.hypot(*(kept[1] - kept[0])) < threshold:
        return [(kept[0] + kept[1]) / 2]
    return kept
