"""Render toy scenes: textured, shaded objects over a background; the mask of an object is its visible part.

Rendered at twice the size and averaged, so that edges are soft like a camera's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from idol_core.data.toy.shapes import PATTERNS, SHAPES
from idol_core.data.toy.textures import Array, Look, color, paints, skin

SUPERSAMPLE = 2
_SPRITE = 88  # pixels over -1.15..1.15 of the object's coordinates
_REACH = 1.15


class Sprite(NamedTuple):
    """An instance as it looks unrotated: colors, opacity and surface slopes over its own coordinates."""

    category: str
    pixels: Array  # [S, S, 6] red, green, blue, opacity, slope x, slope y


class Pose(NamedTuple):
    """Where an object is in one frame. Lengths are in pixels of the final frame, angles in radians."""

    x: float
    y: float
    radius: float
    angle: float
    mirrored: bool
    bend: float  # lateral sway of the body, in object units
    squeeze: float  # width factor, e.g. a flapping wing


class Rendered(NamedTuple):
    image: NDArray[np.uint8]  # [H, W, 3]
    visible: NDArray[np.bool_]  # [N, H, W]
    whole_area: NDArray[np.float32]  # [N] pixels within the frame, without occlusion


def make_sprite(rng: Generator, category: str, look: Look) -> Sprite:
    """Paint an instance of a class with given colors and pattern."""
    axis = (np.arange(_SPRITE, dtype=np.float32) + 0.5) / _SPRITE * (2 * _REACH) - _REACH
    x: Array = np.tile(axis, (_SPRITE, 1))
    y: Array = np.ascontiguousarray(x.T)
    layers = SHAPES[category](x, y, rng.random())
    trim = paints(look)[1] * np.float32(0.9) + np.float32(0.05)
    paint = {
        "skin": skin(rng, PATTERNS[category], look, x, y),
        "trim": trim,
        "white": np.array([0.93, 0.92, 0.88], np.float32),
        "dark": color(look.second_hue, 0.3, 0.12),
    }
    sharpness = np.float32(_SPRITE / (2 * _REACH))
    colors = np.zeros((_SPRITE, _SPRITE, 3), np.float32)
    outline = np.full_like(x, 9)
    for distance, name in layers:
        inside = np.clip(np.float32(0.5) - distance * sharpness, 0, 1)
        rows, columns = _extent(inside)
        part = colors[rows, columns]
        source = paint[name] if paint[name].ndim == 1 else paint[name][rows, columns]
        part += (source - part) * inside[rows, columns, None]
        np.minimum(outline, distance, out=outline)
    colors *= (0.6 + 0.4 * np.clip(-outline / 0.1, 0, 1))[..., None]
    bulge = np.sqrt(np.clip(-outline, 0, 0.45) * np.float32(0.9))
    slope_y, slope_x = np.gradient(bulge, 2 * _REACH / _SPRITE)
    slopes = np.clip(np.stack((slope_x, slope_y), axis=-1), -1.5, 1.5)
    opacity = np.clip(np.float32(0.5) - outline * sharpness, 0, 1)[..., None]
    return Sprite(category, np.concatenate((colors, opacity, slopes), axis=-1))


def _extent(inside: Array) -> tuple[slice, slice]:
    """The smallest window with every positive entry (at least one is needed)."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def render(
    ground: Array, sprites: list[Sprite], poses: list[Pose], *, light: float, grain: Array | None = None
) -> Rendered:
    """Render one frame; later sprites are in front.

    Args:
        ground: [2H, 2W, 3] RGB 0..1, the background at twice the frame's size (left unchanged).
        light: direction the light comes from, in radians.
        grain: [H, W, 1] noise added at the end, in units of 0..1.
    """
    canvas = ground.copy()
    covers: list[tuple[slice, slice, Array] | None] = []
    whole = np.zeros(len(sprites), np.float32)
    for i, (sprite, pose) in enumerate(zip(sprites, poses, strict=True)):
        window = _window(pose, canvas.shape[0], canvas.shape[1])
        if window is None:
            covers.append(None)
            continue
        rows, columns = window
        cover, painted = _place(sprite, pose, rows, columns, light)
        _shade_ground(canvas, rows, columns, cover, light)
        patch = canvas[rows, columns]
        patch += (painted - patch) * cover[..., None]
        whole[i] = cover.sum() / SUPERSAMPLE**2
        for behind in covers:
            _hide(behind, rows, columns, cover)
        covers.append((rows, columns, cover.copy()))
    image = _halve(canvas)
    if grain is not None:
        image += grain
    visible = np.zeros((len(sprites), *image.shape[:2]), np.bool_)
    for i, placed in enumerate(covers):
        if placed is not None:
            rows, columns, cover = placed
            visible[i, rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2] = _halve(cover) > 0.5
    return Rendered(np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8), visible, whole)


def _halve(array: Array) -> Array:
    """Mean of every 2x2 block of [2h, 2w, ...]."""
    result: Array = (array[::2, ::2] + array[1::2, ::2] + array[::2, 1::2] + array[1::2, 1::2]) * np.float32(0.25)
    return result


def _hide(behind: tuple[slice, slice, Array] | None, rows: slice, columns: slice, cover: Array) -> None:
    """Reduce the opacity of an earlier object where a later one covers it."""
    if behind is None:
        return
    top, bottom = max(rows.start, behind[0].start), min(rows.stop, behind[0].stop)
    left, right = max(columns.start, behind[1].start), min(columns.stop, behind[1].stop)
    if top < bottom and left < right:
        hidden = cover[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start]
        first_row, first_column = top - behind[0].start, left - behind[1].start
        behind[2][first_row : first_row + bottom - top, first_column : first_column + right - left] *= 1 - hidden


def _window(pose: Pose, height: int, width: int) -> tuple[slice, slice] | None:
    """The part of the double-size canvas that a pose can touch, with even borders; None if outside."""
    reach = pose.radius * _REACH * SUPERSAMPLE * 1.1
    cx, cy = pose.x * SUPERSAMPLE, pose.y * SUPERSAMPLE
    top, bottom = max(int(cy - reach) // 2 * 2, 0), min(int(cy + reach) // 2 * 2 + 2, height)
    left, right = max(int(cx - reach) // 2 * 2, 0), min(int(cx + reach) // 2 * 2 + 2, width)
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


def _place(sprite: Sprite, pose: Pose, rows: slice, columns: slice, light: float) -> tuple[Array, Array]:
    """Opacity [h, w] and shaded colors [h, w, 3] of a sprite in a window of the double-size canvas."""
    scale = np.float32(1 / (pose.radius * SUPERSAMPLE))
    dx = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - pose.x * SUPERSAMPLE)[None] * scale
    dy = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - pose.y * SUPERSAMPLE)[:, None] * scale
    cos, sin = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
    u, v = (dx * cos + dy * sin) / np.float32(pose.squeeze), dy * cos - dx * sin
    if pose.bend:
        v = v + np.float32(pose.bend) * (u - 0.3) ** 2 * (u < 0.3)
    if pose.mirrored:
        u = -u
    to_pixel = np.float32(_SPRITE / (2 * _REACH))
    column = ((u + np.float32(_REACH)) * to_pixel).astype(np.int32)
    row = ((v + np.float32(_REACH)) * to_pixel).astype(np.int32)
    edge = _SPRITE - 1  # border pixels are empty: clamping to them is safe
    index = np.minimum(np.maximum(row, 0), edge) * _SPRITE + np.minimum(np.maximum(column, 0), edge)
    texels = sprite.pixels.reshape(-1, 6).take(index, axis=0)
    toward = light - pose.angle
    lx, ly = np.float32(np.cos(toward) * (-1 if pose.mirrored else 1)), np.float32(np.sin(toward))
    lit = 0.95 - 0.3 * (texels[..., 4] * lx + texels[..., 5] * ly)
    return texels[..., 3], np.clip(texels[..., :3] * lit[..., None], 0, 1)


def _shade_ground(canvas: Array, rows: slice, columns: slice, cover: Array, light: float) -> None:
    """Cast a soft shadow on the canvas, away from the light."""
    shift_x, shift_y = round(-5 * np.cos(light)), round(-5 * np.sin(light))
    height, width = canvas.shape[:2]
    top, left = max(rows.start + shift_y, 0), max(columns.start + shift_x, 0)
    bottom, right = min(rows.stop + shift_y, height), min(columns.stop + shift_x, width)
    if top >= bottom or left >= right:
        return
    part = cover[top - rows.start - shift_y : bottom - rows.start - shift_y]
    part = part[:, left - columns.start - shift_x : right - columns.start - shift_x]
    canvas[top:bottom, left:right] *= (1 - 0.3 * part)[..., None]
