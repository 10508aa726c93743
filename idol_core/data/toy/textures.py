"""Textures of the toy objects and backgrounds: smooth noise and patterns based on it, in numpy."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]


def smooth_noise(rng: Generator, height: int, width: int, *, cell: float, octaves: int = 4, gain: float = 0.5) -> Array:
    """[height, width] noise of several octaves in about -1..1; `cell` is the largest feature in pixels."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        grid = rng.standard_normal((int(height / size) + 3, int(width / size) + 3), np.float32)
        whole = Image.fromarray(grid).resize(
            (int(grid.shape[1] * size) + 1, int(grid.shape[0] * size) + 1), Image.Resampling.BICUBIC
        )
        total += np.asarray(whole)[:height, :width] * np.float32(weight)
        weight *= gain
    return total / np.float32(1.6)


def mix(a: Array, b: Array, share: Array) -> Array:
    """Blend two colors (or [..., 3] images) by `share` [...] of b."""
    result: Array = a + (b - a) * share[..., None]
    return result


def color(hue: float, saturation: float, value: float) -> Array:
    """RGB 0..1 of HSV 0..1; the hue wraps around."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


class Look(NamedTuple):
    """Colors and pattern scale of an instance, which tell it from others of its class."""

    hue: float
    second_hue: float
    saturation: float
    dark_first: bool
    frequency: float
    angle: float

    def resembles(self, other: Look) -> bool:
        """Whether two looks are too similar to tell apart under shading and JPEG."""
        apart = abs((self.hue - other.hue + 0.5) % 1 - 0.5)
        return apart < 0.2


def draw_look(rng: Generator) -> Look:
    hue = rng.random()
    return Look(
        hue=hue,
        second_hue=hue + rng.uniform(-0.12, 0.12),
        saturation=rng.uniform(0.55, 0.95),
        dark_first=bool(rng.random() < 0.5),
        frequency=rng.uniform(2.2, 4.5),
        angle=rng.uniform(0, np.pi),
    )


def paints(look: Look) -> tuple[Array, Array]:
    """The two RGB colors of a look, one dark, one light."""
    dark, light = (0.42, 0.95) if look.dark_first else (0.95, 0.42)
    return color(look.hue, look.saturation, dark), color(look.second_hue, look.saturation * 0.8, light)


def skin(rng: Generator, pattern: str, look: Look, x: Array, y: Array) -> Array:
    """Paint a pattern over object coordinates: [..., 3] colors.

    Patterns are "stripes", "dots", "cells", "blotches" and "plain".
    """
    size = x.shape[0]
    warp = smooth_noise(rng, size, size, cell=size / 2.5, octaves=2) * np.float32(0.09)
    cos, sin = np.float32(np.cos(look.angle)), np.float32(np.sin(look.angle))
    u, v = (x * cos + y * sin + warp) * look.frequency, (y * cos - x * sin - warp) * look.frequency
    if pattern == "stripes":
        field = np.sin(u * np.pi)
    elif pattern == "dots":
        field = np.cos(u * np.pi) + np.cos(v * np.pi) - 0.7
    elif pattern == "cells":
        field = _cells(rng, u, v)
    elif pattern == "blotches":
        field = smooth_noise(rng, size, size, cell=size / look.frequency / 1.2, octaves=2) * 2.5
    else:
        field = smooth_noise(rng, size, size, cell=size / 2, octaves=2) * 0.2 - 0.1
    first, second = paints(look)
    return mix(first, second, np.clip(field * 2.5 + 0.5, 0, 1).astype(np.float32))


def _cells(rng: Generator, u: Array, v: Array) -> Array:
    """Giraffe-like fields: positive on the seams between the cells of a jittered grid."""
    offsets = rng.uniform(-0.35, 0.35, (256, 2)).astype(np.float32)
    nearest = np.full(u.shape, 9, np.float32)
    second = nearest.copy()
    column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            jitter = offsets.take(((row + i) & 15) * 16 + ((column + j) & 15), axis=0)
            dx = column - u + jitter[..., 0] + (j + 0.5)
            dy = row - v + jitter[..., 1] + (i + 0.5)
            away = (dx * dx + dy * dy).astype(np.float32)
            second = np.minimum(second, np.maximum(nearest, away))
            nearest = np.minimum(nearest, away)
    result: Array = np.float32(0.5) - (np.sqrt(second) - np.sqrt(nearest)) * 3
    return result


def background(rng: Generator, height: int, width: int) -> Array:
    """[height, width, 3] RGB 0..1 of ground, water, foliage or stones; duller than the objects, never flat."""
    kind = rng.integers(4)
    hue = rng.random()
    low = color(hue, rng.uniform(0.1, 0.5), rng.uniform(0.15, 0.45))
    high = color(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.05, 0.45), rng.uniform(0.5, 0.85))
    relief = smooth_noise(rng, height, width, cell=width / 3, octaves=5, gain=0.6)
    if kind == 0:
        field = relief
    elif kind == 1:
        rows = np.arange(height, dtype=np.float32)[:, None]
        field = np.sin(rows * np.float32(rng.uniform(0.2, 0.6)) + relief * 3) * 0.6 + relief * 0.4
    elif kind == 2:
        blades = smooth_noise(rng, height * 4 if rng.random() < 0.5 else height, width, cell=8, octaves=3)
        field = np.ascontiguousarray(blades[::4] if len(blades) > height else blades) * 0.7 + relief * 0.4
    else:
        scale = rng.uniform(12, 22)
        y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(scale)
        field = 0.4 - _cells(rng, x + relief * 0.2, y + relief * 0.2) * 0.5 + relief * 0.25
    tint = smooth_noise(rng, height, width, cell=width / 2, octaves=2)
    picture = mix(low, high, np.clip(field * 0.4 + 0.5, 0, 1).astype(np.float32))
    picture *= (1 + tint * np.float32(0.12))[..., None]
    return np.clip(picture, 0, 1)
