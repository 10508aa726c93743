"""Flip, resize and crop of training and test frames; pixels stay uint8 until collation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from idol_core.config import InputConfig


class Geometry(NamedTuple):
    """The transforms of one frame, in the order of the fields. Sizes are (height, width) in pixels."""

    resize: tuple[int, int] | None  # before the crop
    crop: tuple[int, int, int, int] | None  # top, left, height, width
    size: tuple[int, int]  # final resize
    flip: bool  # left to right


def short_side_size(size: tuple[int, int], short_side: int, max_size: int | None) -> tuple[int, int]:
    """Size (height, width) after resizing the shorter side to `short_side`, or less so that neither exceeds `max_size`.

    The reduction to `max_size` comes before rounding (half up), as in detectron2's ResizeShortestEdge, but at least one
    pixel is left of a very long or high picture.
    """
    height, width = size
    scale = short_side / min(height, width)
    new = [short_side, scale * width] if height < width else [scale * height, short_side]
    if max_size is not None and max(new) > max_size:
        new = [side * (max_size / max(new)) for side in new]
    return max(int(new[0] + 0.5), 1), max(int(new[1] + 0.5), 1)


def draw_crop(rng: Generator, size: tuple[int, int], bounds: tuple[int, int]) -> tuple[int, int, int, int]:
    """Draw a crop (top, left, height, width).

    Each side is uniform in min(side, low)..min(side, high), as in detectron2's absolute_range.
    """
    low, high = bounds
    height, width = (int(rng.integers(min(side, low), min(side, high) + 1)) for side in size)
    top, left = (int(rng.integers(side - part + 1)) for side, part in zip(size, (height, width), strict=True))
    return top, left, height, width


def draw_image_geometry(rng: Generator, size: tuple[int, int], config: InputConfig) -> Geometry:
    """Draw the augmentation of an image (steps 1 and 2): flip, sometimes resize and crop, random short side."""
    flip = bool(rng.random() < config.flip)
    resize = crop = None
    if rng.random() < config.crop.probability:
        resize = short_side_size(size, int(rng.choice(config.crop.resize)), None)
        crop = draw_crop(rng, resize, config.crop.size)
    return _finish(size, resize, crop, int(rng.choice(config.short_sides)), config.max_size, flip)


def draw_clip_geometry(
    rng: Generator, size: tuple[int, int], config: InputConfig, *, frames: int = 2
) -> tuple[Geometry, ...]:
    """Draw the augmentation of a clip (step 3): flip, short side and whether to crop are shared, crops are not."""
    flip = bool(rng.random() < config.flip)
    short_side = int(rng.choice(config.short_sides))
    cropped = rng.random() < config.crop.probability
    crops = [draw_crop(rng, size, config.crop.size) if cropped else None for _ in range(frames)]
    return tuple(_finish(size, None, crop, short_side, config.max_size, flip) for crop in crops)


def _finish(
    size: tuple[int, int],
    resize: tuple[int, int] | None,
    crop: tuple[int, int, int, int] | None,
    short_side: int,
    max_size: int,
    flip: bool,
) -> Geometry:
    before = crop[2:] if crop else resize or size
    return Geometry(resize, crop, short_side_size(before, short_side, max_size), flip)


def transform_image(image: Tensor, geometry: Geometry) -> Tensor:
    """Apply a geometry: uint8 [3, h, w] -> uint8 [3, *geometry.size], bilinear with antialiasing, as in PIL."""
    if geometry.resize:
        image = _resize(image, geometry.resize)
    if geometry.crop:
        top, left, height, width = geometry.crop
        image = image[:, top : top + height, left : left + width]
    image = _resize(image, geometry.size)
    return image.flip(-1) if geometry.flip else image


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of torchvision's resize. Its import would take longer than the rest of a short command."""
    if image.shape[-2:] == size:
        return image
    batch = image[None]
    if batch.is_contiguous(memory_format=torch.channels_last):  # so that interpolate keeps this layout, copying nothing
        batch = batch.as_strided(batch.shape, (image.numel(), *image.stride()))
    return F.interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def resize_for_test(image: NDArray[np.uint8], config: InputConfig) -> Tensor:
    """Resize a frame to the test size (short side, longest side): uint8 [h, w, 3] -> uint8 [3, H, W]."""
    frame = torch.from_numpy(image).permute(2, 0, 1)
    size = short_side_size((image.shape[0], image.shape[1]), config.test_short_side, config.test_max_size)
    return transform_image(frame, Geometry(None, None, size, False))
