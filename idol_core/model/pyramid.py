"""From backbone maps to the sequence of cells that the transformer works on, aware of padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from idol_core.model.position import Geometry, geometry, geometry_of
from idol_core.ops.deform_attn import LevelShapes
from idol_core.ops.numeric import at_least_float32


class Pyramid(NamedTuple):
    """S cells of L levels. What is the same for all frames may have 1 instead of B rows."""

    cells: Tensor  # [B, S, C]
    position: Tensor  # [B, S, C] sine encoding plus the level's embedding
    padding: Tensor | None  # [B, S] bool; None where nothing is padded
    valid_ratios: Tensor  # [B, L, 2] (x, y)
    references: Tensor  # [B, S, L, 2] every cell's centre as seen on every level
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

    def forward(
        self, features: Sequence[Tensor], padding: Tensor, known_sizes: tuple[tuple[int, int], ...] | None = None
    ) -> Pyramid:
        """`features`: backbone maps; `padding`, `known_sizes`: of the frames, see `FrameBatch`."""
        maps = [project(x) for project, x in zip(self.projections, features, strict=False)]
        source = features[-1]
        for project in self.projections[len(maps) :]:
            source = project(source)
            maps.append(source)

        shapes = tuple((m.shape[2], m.shape[3]) for m in maps)
        found = self._geometry(padding, known_sizes, shapes, len(features))
        embedding = torch.cat([e.expand(h * w, -1) for e, (h, w) in zip(self.level_embedding, shapes, strict=True)])
        return Pyramid(
            cells=torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], dim=1),
            position=found.encoding + embedding,
            padding=None if _empty(padding, known_sizes) else found.padding,
            valid_ratios=found.valid_ratios,
            references=found.references,
            level_shapes=shapes,
        )

    def _geometry(
        self, padding: Tensor, known_sizes: tuple[tuple[int, int], ...] | None, shapes: LevelShapes, mapped: int
    ) -> Geometry:
        """Of frames known to be of one size in evaluation it is kept; in training sizes change all the time."""
        channels = self.level_embedding.shape[1]
        if known_sizes is None or len(set(known_sizes)) > 1 or torch.is_grad_enabled():
            return geometry(padding, shapes, mapped, channels)
        height, width = padding.shape[1:]
        return geometry_of(known_sizes[0], (height, width), shapes, mapped, channels, padding.device)


def _empty(padding: Tensor, known_sizes: tuple[tuple[int, int], ...] | None) -> bool:
    """Whether nothing is padded, where asking costs nothing: a device would have to be waited for."""
    if known_sizes is not None:
        return all(size == tuple(padding.shape[1:]) for size in known_sizes)
    return padding.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(padding.any())
