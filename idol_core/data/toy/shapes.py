"""Silhouettes of the toy classes, as signed distances in object coordinates: x right, y down, the object within -1..1.

A shape is a list of layers painted one over the other. Negative distances are inside. Distances are approximate far
from the outline and good near it, where the soft edge and the shading need them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Layer(NamedTuple):
    """One part of an object: its distance field and its paint ("skin" is the instance's texture)."""

    distance: Array
    paint: str  # "skin", "trim", "white" or "dark"


def _ellipse(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> Array:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = ((x - cx) * cos + (y - cy) * sin) / rx
    v = ((y - cy) * cos - (x - cx) * sin) / ry
    result: Array = (np.sqrt(u * u + v * v) - 1) * np.float32(min(rx, ry))
    return result


def _polygon(x: Array, y: Array, *corners: tuple[float, float]) -> Array:
    """Convex polygon, corners clockwise as seen on screen."""
    distance = np.full_like(x, -9)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = np.hypot(x1 - x0, y1 - y0)
        np.maximum(distance, ((y1 - y0) * (x - x0) - (x1 - x0) * (y - y0)) / np.float32(length), out=distance)
    return distance


def _join(*parts: Array, softness: float = 0.06) -> Array:
    """Smooth union of distance fields."""
    result = parts[0]
    for part in parts[1:]:
        blend = np.maximum(softness - np.abs(result - part), 0) / np.float32(softness)
        result = np.minimum(result, part) - blend * blend * np.float32(softness / 4)
    return result


def _fish(x: Array, y: Array, plump: float) -> list[Layer]:
    body = _ellipse(x, y, 0.16, 0.0, 0.8, 0.56 + 0.1 * plump)
    tail = _polygon(x, y, (-0.3, 0.0), (-0.92, 0.5), (-0.92, -0.5))
    fin = _ellipse(x, y, 0.0, 0.2, 0.26, 0.15, 0.5)
    eye = _ellipse(x, y, 0.58, -0.14, 0.15, 0.15)
    return [
        Layer(tail, "trim"),
        Layer(_join(body, tail + 0.12), "skin"),
        Layer(fin, "trim"),
        Layer(eye, "white"),
        Layer(eye + 0.07, "dark"),
    ]


def _owl(x: Array, y: Array, plump: float) -> list[Layer]:
    side = np.abs(x)
    body = _ellipse(x, y, 0, 0.12, 0.66 + 0.08 * plump, 0.84)
    tuft = _polygon(side, y, (0.1, -0.5), (0.52, -0.94), (0.6, -0.3))
    belly = _ellipse(x, y, 0, 0.48, 0.34, 0.4)
    eye = _ellipse(side, y, 0.26, -0.26, 0.25, 0.25)
    pupil = _ellipse(side, y, 0.24, -0.26, 0.12, 0.12)
    beak = _polygon(x, y, (-0.1, -0.12), (0.1, -0.12), (0, 0.14))
    return [
        Layer(_join(body, tuft), "skin"),
        Layer(belly, "trim"),
        Layer(eye, "white"),
        Layer(np.minimum(pupil, beak), "dark"),
    ]


def _butterfly(x: Array, y: Array, plump: float) -> list[Layer]:
    side = np.abs(x)
    upper = _ellipse(side, y, 0.52, -0.34, 0.5, 0.42 + 0.08 * plump, -0.5)
    lower = _ellipse(side, y, 0.4, 0.42, 0.42, 0.36 + 0.08 * plump, 0.6)
    body = _ellipse(x, y, 0, 0.02, 0.13, 0.7)
    return [
        Layer(_join(upper, lower), "skin"),
        Layer(lower + 0.16, "trim"),
        Layer(body, "dark"),
    ]


def _cat(x: Array, y: Array, plump: float) -> list[Layer]:
    side = np.abs(x)
    head = _ellipse(x, y, 0, 0.22, 0.86, 0.62 + 0.1 * plump)
    ear = _polygon(side, y, (0.12, -0.2), (0.62, -0.94), (0.82, 0.1))
    muzzle = _ellipse(x, y, 0, 0.5, 0.3, 0.2)
    eye = _ellipse(side, y, 0.34, 0.12, 0.15, 0.13)
    pupil = _ellipse(side, y, 0.34, 0.12, 0.06, 0.12)
    nose = _ellipse(x, y, 0, 0.42, 0.1, 0.07)
    return [
        Layer(_join(head, ear), "skin"),
        Layer(ear + 0.14, "trim"),
        Layer(muzzle, "white"),
        Layer(eye, "white"),
        Layer(np.minimum(pupil, nose), "dark"),
    ]


def _turtle(x: Array, y: Array, plump: float) -> list[Layer]:
    side = np.abs(y)
    shell = _ellipse(x, y, -0.1, 0, 0.74, 0.66 + 0.08 * plump)
    head = _ellipse(x, y, 0.72, 0, 0.28, 0.26)
    front = _ellipse(x, side, 0.36, 0.64, 0.22, 0.3, -0.6)
    rear = _ellipse(x, side, -0.52, 0.6, 0.2, 0.26, 0.7)
    return [
        Layer(_join(head, front, rear), "trim"),
        Layer(shell, "skin"),
        Layer(_ellipse(x, side, 0.84, 0.12, 0.07, 0.07), "dark"),
    ]


SHAPES: dict[str, Callable[[Array, Array, float], list[Layer]]] = {
    "fish": _fish,
    "owl": _owl,
    "butterfly": _butterfly,
    "cat": _cat,
    "turtle": _turtle,
}
PATTERNS = {"fish": "stripes", "owl": "blotches", "butterfly": "dots", "cat": "plain", "turtle": "cells"}
FACES_FORWARD = frozenset({"fish", "turtle"})  # these look along +x, the way they move
