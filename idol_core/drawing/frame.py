"""Draw tracked objects on a frame: mask, contour, class and id, in a fixed color per track."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]
Color = tuple[int, int, int]

_FILL = 0.36  # opacity of the track's color inside its mask
_GOLDEN = 0.618034  # golden ratio: step in hue (0..1) from one id to the next, so that neighbouring ids differ most


class Drawn(NamedTuple):
    """An object in one frame."""

    track: int  # decides the color
    label: str
    mask: NDArray[np.bool_]  # [H, W]


def track_color(track: int) -> Color:
    """RGB 0..255 of a track id (0, 1, 2, ...), always the same."""
    value = (1.0, 0.82, 0.92)[track // 5 % 3]
    red, green, blue = colorsys.hsv_to_rgb((0.02 + track * _GOLDEN) % 1, (0.85, 0.65)[track // 8 % 2], value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_objects(frame: Frame, objects: Sequence[Drawn], *, scale: int = 1) -> Frame:
    """Draw objects on a frame [H, W, 3] RGB, enlarged `scale` times; later objects on top, labels above all."""
    height, width = frame.shape[:2]
    picture = np.asarray(Image.fromarray(frame).resize((width * scale, height * scale), Image.Resampling.BICUBIC))
    canvas = picture.astype(np.float32)
    thickness = max(1, round(min(picture.shape[:2]) / 240))
    for item in objects:
        if not item.mask.any():
            continue
        rows, columns = _extent(item.mask, 1), _extent(item.mask, 0)
        mask = item.mask[rows, columns].repeat(scale, 0).repeat(scale, 1)
        part = canvas[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        color = np.array(track_color(item.track), np.float32)
        part[mask] += (color - part[mask]) * np.float32(_FILL)
        part[contour(mask, thickness)] = color
    drawn = Image.fromarray(canvas.astype(np.uint8))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=max(9, min(picture.shape[:2]) // 22))
    for item in objects:
        if item.mask.any():
            _write_label(pen, font, item, scale, drawn.size)
    return np.array(drawn)


def contour(mask: NDArray[np.bool_], thickness: int) -> NDArray[np.bool_]:
    """Pixels of a mask [H, W] within `thickness` of its outline; the frame's border does not count as outline."""
    inner = np.pad(mask, 1, mode="edge")
    for _ in range(thickness):
        inner[1:-1, 1:-1] &= inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    result: NDArray[np.bool_] = mask & ~inner[1:-1, 1:-1]
    return result


def _extent(mask: NDArray[np.bool_], axis: int) -> slice:
    """Rows (axis 1) or columns (axis 0) that a mask occupies, plus one on each side within the frame."""
    used = np.flatnonzero(mask.any(axis))
    return slice(max(int(used[0]) - 1, 0), min(int(used[-1]) + 2, mask.shape[1 - axis]))


def write_caption(frame: Frame, text: str) -> Frame:
    """Write a line of text into the frame's lower left corner."""
    picture = Image.fromarray(frame)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=max(9, min(frame.shape[:2]) // 24))
    left, top, right, bottom = pen.textbbox((4, 0), text, font=font)
    shift = frame.shape[0] - bottom - 3
    pen.rectangle((left - 3, top + shift - 2, right + 3, bottom + shift + 2), fill=(0, 0, 0))
    pen.text((4, shift), text, font=font, fill=(255, 255, 255))
    return np.array(picture)


def _write_label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    item: Drawn,
    scale: int,
    size: tuple[int, int],
) -> None:
    """Write the label above the object if there is room, and always within the picture."""
    x, y = int(np.flatnonzero(item.mask.any(0))[0]) * scale, int(np.flatnonzero(item.mask.any(1))[0]) * scale
    left, top, right, bottom = pen.textbbox((0, 0), item.label, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = int(max(min(x, size[0] - width), 0))
    y = int(min(y - height - 1 if y > height else y, size[1] - height))
    color = track_color(item.track)
    pen.rectangle((x, y, x + width, y + height), fill=color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    pen.text((x + 2 - left, y + 2 - top), item.label, font=font, fill=(0, 0, 0) if luminance > 128 else (255, 255, 255))
