"""From backbone maps to the sequence of cells that the transformer works on, aware of padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.model.position import sine_encoding, valid_ratios
from idol_core.ops.deform_attn import LevelShapes
from idol_core.ops.numeric import at_least_float32


class Pyramid(NamedTuple):
    """S cells of L levels."""

    cells: Tensor  # [B, S, C]
    position: Tensor  # [B, S, C] sine encoding plus the level's embedding
    padding: Tensor | None  # [B, S] bool; None where nothing is padded
    valid_ratios: Tensor  # [B, L, 2] (x, y)
    level_shapes: LevelShapes


class Projection(nn.Module):
    """Convolution with bias, then GroupNorm(32); no activation. In float32: from scratch, frozen batch norms let the
    backbone's maps grow until their projections exceed float16."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.norm = nn.GroupNorm(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.norm(self.conv(at_least_float32(x)))


class PyramidProjection(nn.Module):
    """Maps of stride 8, 16, 32 -> a pyramid; levels beyond the third are strided 3x3 convolutions.

    Args:
        channels: of the backbone's maps.
        dim: C.
        levels: L, at least len(channels). The first additional level is made of the last backbone map as it is, the
            following ones of the level before.
    """

    def __init__(self, *, channels: Sequence[int], dim: int, levels: int) -> None:
        super().__init__()
        if levels < len(channels):
            raise ValueError(f"levels is {levels}, but the backbone gives {len(channels)} maps")
        projections = [Projection(c, dim, kernel=1, stride=1) for c in channels]
        inputs = channels[-1]
        for _ in range(levels - len(channels)):
            projections.append(Projection(inputs, dim, kernel=3, stride=2))
            inputs = dim
        self.projections = nn.ModuleList(projections)
        self.level_embedding = nn.Parameter(torch.empty(levels, dim))

    def forward(self, features: Sequence[Tensor], padding: Tensor) -> Pyramid:
        """`features`: backbone maps; `padding`: [B, H, W] bool of the images."""
        maps = [project(x) for project, x in zip(self.projections, features, strict=False)]
        paddings = [_shrink(padding, m) for m in maps]
        source = features[-1]
        for project in self.projections[len(maps) :]:
            source = project(source)
            maps.append(source)
            paddings.append(_shrink(paddings[0], source))  # of the stride-8 level, as the published models have it

        shapes = tuple((m.shape[2], m.shape[3]) for m in maps)
        embedding = torch.cat([e.expand(h * w, -1) for e, (h, w) in zip(self.level_embedding, shapes, strict=True)])
        return Pyramid(
            cells=torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], dim=1),
            position=sine_encoding(paddings, self.level_embedding.shape[1]) + embedding,
            padding=None if _empty(padding) else torch.cat([p.flatten(1) for p in paddings], dim=1),
            valid_ratios=valid_ratios(paddings),
            level_shapes=shapes,
        )


def _empty(padding: Tensor) -> bool:
    """Whether nothing is padded, where asking costs nothing: on other devices it would wait for them."""
    return padding.device.type == "cpu" and not bool(padding.any())


def _shrink(padding: Tensor, like: Tensor) -> Tensor:
    """Nearest sampling of [B, H, W] bool at the size of [B, C, h, w]: a cell is padding where its top left pixel is."""
    return F.interpolate(padding[:, None].to(torch.uint8), size=like.shape[-2:], mode="nearest")[:, 0].bool()
