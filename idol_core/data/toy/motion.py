"""Paths of toy objects: wandering, crossing objects of one class, objects that leave and return."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from idol_core.data.toy.render import Pose
from idol_core.data.toy.shapes import FACES_FORWARD

HEIGHT, WIDTH = 96, 128  # of every toy frame, in pixels
SMALLEST, LARGEST = 22.0, 34.0  # radius of an object, in pixels

Path = NDArray[np.float64]  # [T, 2] centre (x, y) in pixels


def wander(rng: Generator, length: int) -> Path:
    """Draw a drifting, swaying path, reflected at the borders."""
    times = np.arange(length)
    heading, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 4.0)
    start = rng.uniform((10, 10), (WIDTH - 10, HEIGHT - 10))
    sway = rng.uniform(0, 4) * np.sin(rng.uniform(0.3, 0.8) * times + rng.uniform(0, 6))
    x = start[0] + times * speed * np.cos(heading) - sway * np.sin(heading)
    y = start[1] + times * speed * np.sin(heading) + sway * np.cos(heading)
    return np.stack((_fold(x, 8, WIDTH - 8), _fold(y, 8, HEIGHT - 8)), axis=1)


def cross(rng: Generator, length: int) -> tuple[Path, Path]:
    """Draw two paths that meet in the middle of the clip and then either cross or turn back."""
    meeting = rng.uniform(0.35, 0.65) * (length - 1)
    point = np.array((WIDTH, HEIGHT)) / 2 + rng.uniform(-14, 14, 2)
    heading = rng.uniform(-0.7, 0.7) + (np.pi if rng.random() < 0.5 else 0)
    along, aside = np.array((np.cos(heading), np.sin(heading))), np.array((-np.sin(heading), np.cos(heading)))
    offset = (np.arange(length) - meeting)[:, None]
    travelled = np.abs(offset) if rng.random() < 0.3 else offset
    miss = rng.uniform(4, 16) * rng.choice((-1, 1))
    curve = rng.uniform(-0.25, 0.25, 2)
    first = point + along * travelled * rng.uniform(4.0, 6.5) + aside * (offset**2 * curve[0] + miss)
    second = point - along * travelled * rng.uniform(4.0, 6.5) + aside * offset**2 * curve[1]
    return first, second


def leave_and_return(rng: Generator, length: int) -> Path:
    """Draw a path that leaves the frame in the middle of the clip for some frames and returns."""
    times = np.arange(length)
    away = rng.uniform(0.35, 0.65) * (length - 1)
    inward = rng.uniform(5, 8) * np.abs(times - away) - rng.uniform(28, 38)
    slide = rng.uniform(0.25, 0.75) + (times - away) / length * rng.uniform(-0.4, 0.4)
    side = rng.integers(4)
    if side < 2:
        return np.stack((inward if side == 0 else WIDTH - inward, slide * HEIGHT), axis=1)
    return np.stack((slide * WIDTH, inward if side == 2 else HEIGHT - inward), axis=1)


def poses(rng: Generator, category: str, path: Path, radius: float) -> list[Pose]:
    """Compute size, rotation and sway of an object along its path."""
    length = len(path)
    times = np.arange(length)
    growth = np.exp(rng.uniform(-0.3, 0.3) * np.linspace(-0.5, 0.5, length)) if length > 1 else np.ones(1)
    radii = np.clip(radius * growth, SMALLEST * 0.85, LARGEST * 1.15)
    velocity = np.gradient(path, axis=0) if length > 1 else rng.normal(size=(1, 2))
    if category in FACES_FORWARD:
        mirrored = velocity[:, 0] < 0
        tilt = np.arctan2(velocity[:, 1], np.abs(velocity[:, 0]) + 1.5)
        angles = np.where(mirrored, -tilt, tilt) + rng.uniform(-0.2, 0.2)
    else:
        mirrored = np.zeros(length, bool)
        spin = 0.05
        angles = rng.uniform(-0.45, 0.45) + rng.uniform(-spin, spin) * times
    phase, rhythm = rng.uniform(0, 6), rng.uniform(0.6, 1.4)
    bends = 0.22 * np.sin(rhythm * times + phase) if category == "fish" else np.zeros(length)
    flap = 0.82 + 0.18 * np.sin(rhythm * times + phase) if category == "butterfly" else np.ones(length)
    return [
        Pose(
            x=float(path[t, 0]),
            y=float(path[t, 1]),
            radius=float(radii[t]),
            angle=float(angles[t]),
            mirrored=bool(mirrored[t]),
            bend=float(bends[t]),
            squeeze=float(flap[t]),
        )
        for t in range(length)
    ]


def _fold(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Reflect a coordinate at both borders."""
    span = high - low
    folded: NDArray[np.float64] = low + span - np.abs((values - low) % (2 * span) - span)
    return folded
