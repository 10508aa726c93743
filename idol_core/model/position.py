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
    top left cell of level 0 within it is, as in the published models. All levels are computed together: on a GPU every
    operation has to be started, and frames of training differ in size.
    """
    height, width = padding.shape[1:]
    pixels = _sampled_pixels(level_shapes, (height, width), mapped, padding.device)
    cells = padding.flatten(1).index_select(1, pixels)
    split = cells.split([h * w for h, w in level_shapes], dim=1)
    valid = _count_valid([part.unflatten(1, shape) for part, shape in zip(split, level_shapes, strict=True)])
    ratios = _valid_ratios(valid, level_shapes)
    return Geometry(_encode(valid, channels), cells, ratios, cell_references(level_shapes, ratios))


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


def sine_encoding(paddings: Sequence[Tensor], channels: int) -> Tensor:
    """Sine position encoding of every level's cells, normalized to 2 pi with half-pixel offset (DETR; Deformable DETR).

    Args:
        paddings: [B, h, w] bool, one per level.
        channels: divisible by 4; the first half encodes y, the second x.

    Returns:
        [B, S, channels] float32; lower precision is not enough, because the angle is about -3e6 where a whole row or
        column is padding.
    """
    return _encode(_count_valid(paddings), channels)


class _Valid(NamedTuple):
    """Numbers of valid cells, [B, 2, S] float32 each: in every cell's column (for y), and in its row (for x)."""

    before: Tensor  # up to the cell itself
    all: Tensor


def _count_valid(paddings: Sequence[Tensor]) -> _Valid:
    level_shapes = tuple((p.shape[1], p.shape[2]) for p in paddings)
    valid = torch.cat([p.flatten(1) for p in paddings], dim=1).logical_not()
    split = valid.split([h * w for h, w in level_shapes], dim=1)
    maps = [part.unflatten(1, shape) for part, shape in zip(split, level_shapes, strict=True)]
    sums = [m.cumsum(axis, dtype=torch.float32).flatten(1) for axis in (1, 2) for m in maps]
    before = torch.cat(sums, dim=1)
    total = before.index_select(1, _last_cells(level_shapes, before.device))
    return _Valid(before.unflatten(1, (2, -1)), total.unflatten(1, (2, -1)))


def _encode(valid: _Valid, channels: int) -> Tensor:
    angles = _angles(*valid).transpose(1, 2).contiguous()  # [B, S, 2]
    scaled = angles[..., None] / _periods(channels // 2, angles.device)  # [B, S, 2, channels / 4]
    sine, cosine = scaled.sin(), scaled.cos()
    if exporting():  # one rounding of -3e6 is a quarter, so runtimes don't agree on its sine
        all_padding = scaled < 0
        sine, cosine = (
            torch.where(all_padding, torch.tensor(fixed), varying)
            for fixed, varying in zip(_of_padding(channels // 2), (sine, cosine), strict=True)
        )
    return torch.stack((sine, cosine), dim=-1).flatten(2)


def _angles(before: Tensor, total: Tensor) -> Tensor:
    """Compute the angles of cells, 0..2 pi on valid ones, from the two counts of `_Valid`."""
    return (before - 0.5) / (total + 1e-6) * (2 * math.pi)


@functools.cache
def _of_padding(features: int) -> tuple[list[float], list[float]]:
    """Sines and cosines where a whole row or column is padding, as numbers: computed by torch even under a tracer."""
    with _disable_current_modes():
        angle = _angles(torch.zeros(1), torch.zeros(1))
        scaled = angle / _periods(features, angle.device)
        return scaled.sin().tolist(), scaled.cos().tolist()


@constant(keep=8)
def _periods(features: int, device: torch.device) -> Tensor:
    exponents = torch.arange(0, features, 2, dtype=torch.float32, device=device) / features
    return torch.full_like(exponents, TEMPERATURE) ** exponents


def _valid_ratios(valid: _Valid, level_shapes: LevelShapes) -> Tensor:
    """Unpadded fraction of each level's width and height, from its first row and column: [B, L, 2] (x, y)."""
    first = valid.all.index_select(2, _first_cells(level_shapes, valid.all.device))  # [B, 2, L] of columns, of rows
    return first.flip(1).transpose(1, 2) / _extents(level_shapes, first.device)


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


@constant()
def _sampled_pixels(level_shapes: LevelShapes, padded: tuple[int, int], mapped: int, device: torch.device) -> Tensor:
    """The pixel that decides whether a cell is padding, as an index into frames of the size `padded`: [S] int64."""
    axes = [[_nearest(side, level[axis]) for level in level_shapes[:mapped]] for axis, side in enumerate(padded)]
    for axis in (0, 1):
        own, of_first = level_shapes[0][axis], axes[axis][0]
        axes[axis] += [of_first[_nearest(own, level[axis])] for level in level_shapes[mapped:]]
    return torch.cat([(y[:, None] * padded[1] + x).flatten() for y, x in zip(*axes, strict=True)]).to(device)


def _nearest(inputs: int, outputs: int) -> Tensor:
    """Index of the input that each output is when a map is resized to its nearest neighbours: [outputs] int64."""
    index = torch.arange(inputs, dtype=torch.float32).view(1, 1, -1)
    return F.interpolate(index, size=outputs, mode="nearest").view(-1).long()


@constant()
def _last_cells(level_shapes: LevelShapes, device: torch.device) -> Tensor:
    """Last cell of every cell's column, then of its row, which is counted from S: [2 * S] int64."""
    start, columns, rows = 0, [], []
    for h, w in level_shapes:
        y, x = torch.meshgrid(torch.arange(h) * w, torch.arange(w), indexing="ij")
        columns.append((start + (h - 1) * w + x).flatten())
        rows.append((start + y + (w - 1)).flatten())
        start += h * w
    return torch.cat((*columns, *(row + start for row in rows))).to(device)


@constant()
def _first_cells(level_shapes: LevelShapes, device: torch.device) -> Tensor:
    """Index of every level's first cell: [L] int64."""
    sizes = [h * w for h, w in level_shapes]
    return torch.tensor([sum(sizes[:i]) for i in range(len(sizes))]).to(device)
