"""Positions of pyramid cells: sine encoding, valid ratios, reference points.

A pyramid is a sequence of S cells, its levels concatenated, each row-major. Frames are padded at the bottom and right;
`padding` is True there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from idol_core.ops.constants import constant, exporting
from idol_core.ops.deform_attn import LevelShapes

TEMPERATURE = 10000.0


class Geometry(NamedTuple):
    """Position tensors that depend only on the padding of B frames; the first axis is 1 if all frames share them."""

    encoding: Tensor  # [B or 1, S, C] sine encoding
    padding: Tensor  # [B or 1, S] bool
    valid_ratios: Tensor  # [B or 1, L, 2] (x, y)
    references: Tensor  # [B or 1, S, L, 2], see `cell_references`


def geometry(padding: Tensor, level_shapes: LevelShapes, mapped: int, channels: int) -> Geometry:
    """Compute the Geometry of frames with `padding` [B, H, W] bool; C is `channels`.

    A cell of the first `mapped` levels is padding if its top left pixel is. A cell of a later level is padding if the
    top left cell of level 0 within it is, as in the published models.
    """
    paddings: list[Tensor] = []
    for i, shape in enumerate(level_shapes):
        paddings.append(_shrink(padding if i < mapped else paddings[0], shape))
    ratios = valid_ratios(paddings)
    return Geometry(
        sine_encoding(paddings, channels),
        torch.cat([p.flatten(1) for p in paddings], dim=1),
        ratios,
        cell_references(level_shapes, ratios),
    )


@constant(keep=4)
def geometry_of(
    size: tuple[int, int],
    padded: tuple[int, int],
    level_shapes: LevelShapes,
    mapped: int,
    channels: int,
    device: torch.device,
) -> Geometry:
    """Geometry of frames that all have this `size` (height, width), padded to the size `padded`; cached."""
    padding = torch.ones(1, *padded, dtype=torch.bool, device=device)
    padding[:, : size[0], : size[1]] = False
    return geometry(padding, level_shapes, mapped, channels)


def _shrink(padding: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [B, H, W] bool to `size` (h, w) by nearest sampling."""
    return F.interpolate(padding[:, None].to(torch.uint8), size=size, mode="nearest")[:, 0].bool()


def sine_encoding(paddings: Sequence[Tensor], channels: int) -> Tensor:
    """Sine position encoding of every level's cells, normalized to 2 pi with half-pixel offset (DETR; Deformable DETR).

    Args:
        paddings: [B, h, w] bool, one per level.
        channels: divisible by 4; the first half encodes y, the second x.

    Returns:
        [B, S, channels] float32; lower precision is not enough, because the angle is about -3e6 where a whole row or
        column is padding.
    """
    angles = [torch.stack(_angles(~padding), dim=-1).flatten(1, 2) for padding in paddings]
    scaled = torch.cat(angles, dim=1)[..., None] / _periods(
        channels // 2, paddings[0].device
    )  # [B, S, 2, channels / 4]
    sine, cosine = scaled.sin(), scaled.cos()
    if exporting():  # one rounding of -3e6 is a quarter, so runtimes don't agree on its sine
        all_padding = scaled < 0
        sine, cosine = (
            torch.where(all_padding, torch.tensor(fixed), varying)
            for fixed, varying in zip(_of_padding(channels // 2), (sine, cosine), strict=True)
        )
    return torch.stack((sine, cosine), dim=-1).flatten(2)


def _angles(valid: Tensor) -> tuple[Tensor, Tensor]:
    """y and x angles of cells: [B, h, w] bool -> two [B, h, w] float32; 0..2 pi on valid cells."""
    y, x = valid.cumsum(1, dtype=torch.float32), valid.cumsum(2, dtype=torch.float32)
    return (y - 0.5) / (y[:, -1:, :] + 1e-6) * (2 * math.pi), (x - 0.5) / (x[:, :, -1:] + 1e-6) * (2 * math.pi)


@functools.cache
def _of_padding(features: int) -> tuple[list[float], list[float]]:
    """Sines and cosines where a whole row or column is padding, as numbers: computed by torch even under a tracer."""
    with _disable_current_modes():
        angle, _ = _angles(torch.zeros(1, 1, 1, dtype=torch.bool))
        scaled = angle.flatten() / _periods(features, angle.device)
        return scaled.sin().tolist(), scaled.cos().tolist()


@constant(keep=8)
def _periods(features: int, device: torch.device) -> Tensor:
    exponents = torch.arange(0, features, 2, dtype=torch.float32, device=device) / features
    return torch.full_like(exponents, TEMPERATURE) ** exponents


def valid_ratios(paddings: Sequence[Tensor]) -> Tensor:
    """Unpadded fraction of each level's width and height, from its first row and column: [B, L, 2] (x, y)."""
    wide = [(~p[:, 0, :]).sum(1) / p.shape[2] for p in paddings]
    high = [(~p[:, :, 0]).sum(1) / p.shape[1] for p in paddings]
    return torch.stack((torch.stack(wide, 1), torch.stack(high, 1)), dim=-1)


def cell_references(level_shapes: LevelShapes, ratios: Tensor) -> Tensor:
    """Centre of every cell in the coordinates of every level: [B, S, L, 2] (x, y), 0..1 across the padded level.

    A centre is first expressed as a fraction of its own level's valid region, then multiplied by the valid ratio of the
    level that is sampled. `ratios` is [B, L, 2].
    """
    centres, level = _cells(level_shapes, ratios.device)
    extents = _extents(level_shapes, ratios.device)
    own = centres / (ratios * extents)[:, level]  # [B, S, 2]
    return own[:, :, None] * ratios[:, None]


@constant()
def _cells(level_shapes: LevelShapes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres [S, 2] (x, y), in units of cells, and level indices [S] of all cells."""
    centres = []
    for h, w in level_shapes:
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        centres.append(torch.stack((x, y), dim=-1).flatten(0, 1))
    level = torch.cat([torch.full((h * w,), i) for i, (h, w) in enumerate(level_shapes)])
    return torch.cat(centres).to(device), level.to(device)


@constant()
def _extents(level_shapes: LevelShapes, device: torch.device) -> Tensor:
    """Size of every level: [L, 2] float32 (width, height) in cells."""
    return torch.tensor([(w, h) for h, w in level_shapes], dtype=torch.float32).to(device)
