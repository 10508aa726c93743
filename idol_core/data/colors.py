"""Color jitter: brightness, contrast, saturation and hue as one affine map of RGB."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from idol_core.config import ColorConfig

LUMA = np.array((0.299, 0.587, 0.114))  # grey of an RGB pixel (ITU-R BT.601)
MIDDLE = 127.5


def draw_colors(rng: Generator, config: ColorConfig) -> NDArray[np.float32] | None:
    """Draw a color jitter: a [3, 4] matrix that maps (r, g, b, 1), 0..255, to new colors.
    It changes hue and saturation around grey, then contrast around mid-grey, then brightness. None: no change. At
    probability 0, `rng` is not used.
    """
    if config.probability == 0 or rng.random() >= config.probability:
        return None
    angle = rng.uniform(-config.hue, config.hue) * 2 * math.pi
    saturation, contrast, brightness = (
        rng.uniform(1 - width, 1 + width) for width in (config.saturation, config.contrast, config.brightness)
    )
    axis = np.ones(3) / math.sqrt(3)
    cross = np.array(((0, -axis[2], axis[1]), (axis[2], 0, -axis[0]), (-axis[1], axis[0], 0)))
    turn = np.eye(3) * math.cos(angle) + cross * math.sin(angle) + np.outer(axis, axis) * (1 - math.cos(angle))
    grey = np.outer(np.ones(3), LUMA)
    linear = (grey + saturation * (np.eye(3) - grey)) @ turn * contrast * brightness
    offset = np.full((3, 1), MIDDLE * (1 - contrast) * brightness)
    return np.concatenate((linear, offset), axis=1).astype(np.float32)


def recolor(image: Tensor, colors: NDArray[np.float32] | None) -> Tensor:
    """Apply a color jitter of `draw_colors`: uint8 [3, h, w] -> uint8 [3, h, w], clipped to 0..255."""
    if colors is None:
        return image
    linear, offset = torch.from_numpy(colors[:, :3]), torch.from_numpy(colors[:, 3:])
    mapped = torch.addmm(offset, linear, image.reshape(3, -1).float())
    return mapped.round_().clamp_(0, 255).to(torch.uint8).view_as(image)
