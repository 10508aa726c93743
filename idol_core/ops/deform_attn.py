"""The sampling core of multi-scale deformable attention (Zhu et al. 2021, equation 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.ops.deform_attn_cpu import DeformableAttentionCPU, available

LevelShapes = tuple[tuple[int, int], ...]


def deformable_attention(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples of several feature maps.

    Args:
        value: [N, S, M, D], M heads; the maps of all levels concatenated along S, each row-major.
        level_shapes: (height, width) of every level; sum of height * width is S.
        locations: [N, Q, M, L, P, 2] float32 or float64 (x, y), 0..1 across a level; the centre of column j lies at
            (j + .5) / width. Outside of the map everything is zero.
        weights: [N, Q, M, L, P].

    Returns:
        [N, Q, M * D] in the precision of the locations, in which all is computed.
    """
    value, weights = value.to(locations.dtype), weights.to(locations.dtype)
    if available(value):
        shapes = torch.tensor(level_shapes, dtype=torch.int64)
        attended: Tensor = DeformableAttentionCPU.apply(value, shapes, locations, weights)
        return attended
    return sample_with_torch(value, level_shapes, locations, weights)


def sample_with_torch(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The same in torch's own operators, on any device."""
    n, _, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    maps = value.permute(0, 2, 3, 1).reshape(n * heads, dim, -1).split([h * w for h, w in level_shapes], dim=-1)
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).reshape(levels, n * heads, queries, points, 2)
    samples = [
        F.grid_sample(m.unflatten(-1, shape), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        for m, shape, grid in zip(maps, level_shapes, grids, strict=True)
    ]  # each [N*M, D, Q, P]
    by_head = weights.transpose(1, 2).reshape(n * heads, 1, queries, levels * points)
    summed = (torch.cat(samples, dim=-1) * by_head).sum(-1)  # [N*M, D, Q]
    return summed.view(n, heads * dim, queries).transpose(1, 2)
