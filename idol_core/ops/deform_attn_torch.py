"""Multi-scale deformable attention and its gradients with torch's own operators (grid_sample), on any device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LevelShapes = tuple[tuple[int, int], ...]


def sample_with_torch(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """`deform_attn.deformable_attention` with grid_sample, for inputs of one dtype; differentiable by autograd."""
    n, _, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    samples = [
        F.grid_sample(level, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        for level, grid in _maps_and_grids(value, level_shapes, locations)
    ]  # each [N*M, D, Q, P]
    by_head = weights.transpose(1, 2).reshape(n * heads, 1, queries, levels * points)
    summed = (torch.cat(samples, dim=-1) * by_head).sum(-1)  # [N*M, D, Q]
    return summed.view(n, heads * dim, queries).transpose(1, 2)


def forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """`sample_with_torch` in the locations' dtype -> [N, Q, M * D] in value's; `shapes`: flat (height, width) list."""
    dtype = locations.dtype
    output = sample_with_torch(value.to(dtype), pairs(shapes), locations, weights.to(dtype))
    return output.to(value.dtype).contiguous()


def backward(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights, each in its input's dtype; `grad`: of the output [N, Q, M * D].

    Recomputes the samples instead of saving them. Does not use autograd, which is off inside an operator.
    """
    n, _, heads, dim = value.shape
    queries, dtype = locations.shape[1], locations.dtype
    incoming = grad.to(dtype).view(n, queries, heads, dim).permute(0, 2, 3, 1).reshape(n * heads, dim, queries, 1)
    by_head = weights.to(dtype).permute(3, 0, 2, 1, 4).flatten(1, 2)  # [L, N*M, Q, P]
    grad_maps, grad_grids, grad_weights = [], [], []
    for i, (level, grid) in enumerate(_maps_and_grids(value.to(dtype), pairs(shapes), locations)):
        sample = F.grid_sample(level, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        grad_weights.append((sample * incoming).sum(1))
        grad_map, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            incoming * by_head[i, :, None], level, grid, 0, 0, False, (True, True)  # bilinear, zeros
        )  # fmt: skip
        grad_maps.append(grad_map.flatten(2))
        grad_grids.append(2 * grad_grid)
    grad_value = torch.cat(grad_maps, dim=-1).view(n, heads, dim, -1).permute(0, 3, 1, 2)
    by_query = [torch.stack(g).unflatten(1, (n, heads)).transpose(2, 3) for g in (grad_grids, grad_weights)]
    grad_locations, grad_weight = by_query[0].permute(1, 2, 3, 0, 4, 5), by_query[1].permute(1, 2, 3, 0, 4)
    return (
        grad_value.to(value.dtype).contiguous(),
        grad_locations.contiguous(),
        grad_weight.to(weights.dtype).contiguous(),
    )


def pairs(shapes: Sequence[int]) -> LevelShapes:
    """(height, width) of each level, from the flat list of them."""
    return tuple(zip(shapes[::2], shapes[1::2], strict=True))


def _maps_and_grids(value: Tensor, level_shapes: LevelShapes, locations: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the inputs of grid_sample for each level: map [N*M, D, h, w] and grid [N*M, Q, P, 2]."""
    n, _, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    maps = value.permute(0, 2, 3, 1).reshape(n * heads, dim, -1).split([h * w for h, w in level_shapes], dim=-1)
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).reshape(levels, n * heads, queries, points, 2)
    for level, shape, grid in zip(maps, level_shapes, grids, strict=True):
        yield level.unflatten(-1, shape), grid
