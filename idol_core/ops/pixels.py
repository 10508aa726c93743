"""Normalize frames where the network runs: they are stored and sent to a device as bytes, a quarter of float32."""

from __future__ import annotations

import torch
from torch import Tensor

from idol_core.ops.constants import constant
from idol_core.structures import FrameBatch


def normalized(frames: FrameBatch) -> FrameBatch:
    """Frames as the network takes them: (pixel - mean) / standard deviation of each channel, 0 on padding.

    Frames without a `scale` are normalized already and are returned as they are.
    """
    if frames.scale is None:
        return frames
    mean, deviation = _per_channel(frames.scale, frames.images.device)
    images = torch.sub(frames.images, mean).div_(deviation)
    size = tuple(images.shape[-2:])
    if frames.known_sizes is None or any(known != size for known in frames.known_sizes):
        images.masked_fill_(frames.padding[:, None], 0.0)
    return frames._replace(images=images, scale=None)


@constant()
def _per_channel(scale: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = torch.tensor(scale).to(device).view(2, 3, 1, 1)
    return mean, deviation
