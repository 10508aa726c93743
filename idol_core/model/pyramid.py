"""Project backbone maps to the sequence of cells that the transformer works on, with positions and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from idol_core.model.position import Geometry, geometry, geometry_of
from idol_core.ops.deform_attn import LevelShapes
from idol_core.ops.numeric import at_least_float32


class Pyramid(NamedTuple):
    """S cells of L levels, as the encoder takes them. Tensors that all frames share may have 1 instead of B rows."""

    cells: Tensor  # [B, S, C]
    position: Tensor  # [B, S, C] sine encoding plus the level's embedding
    padding: Tensor | None  # [B, S] bool; None where nothing is padded
    valid_ratios: Tensor  # [B, L, 2] (x, y)
    references: Tensor  # [B, S, L, 2] every cell's centre on every level, see `cell_references`
    level_shapes: LevelShapes


class Projection(nn.Module):
    """Convolution with bias, then GroupNorm(32); no activation. Always float32: when training from scratch, frozen
    batch norms let the backbone's maps grow until their projections overflow float16."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.norm = nn.GroupNorm(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.norm(self.conv(at_least_float32(x)))


class PyramidProjection(nn.Module):
    """Make a Pyramid from maps of stride 8, 16, 32; levels beyond these come from strided 3x3 convolutions.

    Args:
        channels: of the backbone's maps.
        dim: C.
        levels: L, at least len(channels). The first additional level is made from the last backbone map itself
            (unprojected), the following ones from the level before.
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
        """Geometry of the frames; cached in evaluation for frames known to be of one size (in training sizes vary)."""
        channels = self.level_embedding.shape[1]
        if known_sizes is None or len(set(known_sizes)) > 1 or torch.is_grad_enabled():
            return geometry(padding, shapes, mapped, channels)
        height, width = padding.shape[1:]
        return geometry_of(known_sizes[0], (height, width), shapes, mapped, channels, padding.device)


def _empty(padding: Tensor, known_sizes: tuple[tuple[int, int], ...] | None) -> bool:
    """True if it is known without waiting for a device that nothing is padded."""
    if known_sizes is not None:
        return all(size == tuple(padding.shape[1:]) for size in known_sizes)
    return padding.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(padding.any())
