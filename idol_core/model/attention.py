"""Attention modules of the transformer: deformable attention and self-attention among queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.ops.constants import constant
from idol_core.ops.deform_attn import LevelShapes, deformable_attention


class Places(NamedTuple):
    """Base positions and units of sampling offsets. The last axis runs over levels, points and (x, y), flattened."""

    starts: Tensor  # [B or 1, Q, 1, L * points * 2] at least float32, 0..1 across each padded level
    steps: Tensor  # [..., L * points * 2]: size of an offset of 1, in the same coordinates


def places_around(references: Tensor, level_shapes: LevelShapes, points: int) -> Places:
    """Make the Places for `points` offsets per level around reference points or boxes.

    references: [B, Q, L, 2] points or [B, Q, L, 4] boxes (cxcywh), 0..1 across each padded level. The unit of an offset
    is one cell around a point, and half the box's width and height / `points` around the centre of a box.
    """
    repeated = references[:, :, :, None].expand(-1, -1, -1, points, -1)  # [B, Q, L, points, 2 or 4]
    starts = repeated[..., :2].flatten(2)[:, :, None]
    if references.shape[-1] == 2:
        return Places(starts, _cell_sizes(level_shapes, points, starts.dtype, starts.device))
    return Places(starts, (repeated[..., 2:] * (0.5 / points)).flatten(2)[:, :, None])


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Zhu et al. 2021): queries sample `points` places on each of `levels` maps."""

    def __init__(self, *, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not divisible by heads {heads}")
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(dim, heads * levels * points * 2)
        self.weights = nn.Linear(dim, heads * levels * points)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(
        self, query: Tensor, places: Places, memory: Tensor, level_shapes: LevelShapes, padding: Tensor | None
    ) -> Tensor:
        """
        Args:
            query: [B, Q, C], position encoding added.
            places: base positions and units of the offsets.
            memory: [B, S, C].
            level_shapes: (height, width) of each level.
            padding: [B or 1, S] bool, or None; padded cells are sampled as zero.
        """
        b, q, _ = query.shape
        value = self.value(memory)
        if padding is not None:
            value = value.masked_fill_(padding[..., None], 0.0)  # no copy: nothing else needs the linear layer's output
        weights, offsets = self.weights(query), self.offsets(query)
        with torch.autocast(query.device.type, enabled=False):  # the operations take mixed dtypes without casts
            weights = weights.view(b, q, self.heads, self.levels * self.points).softmax(-1)
            locations = torch.addcmul(places.starts, offsets.view(b, q, self.heads, -1), places.steps)
            sampled = deformable_attention(
                value.view(b, -1, self.heads, value.shape[-1] // self.heads),
                level_shapes,
                locations.view(b, q, self.heads, self.levels, self.points, 2),
                weights.view(b, q, self.heads, self.levels, self.points),
            )
        return self.output(sampled)


@constant()
def _cell_sizes(level_shapes: LevelShapes, points: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[L * points * 2] (1 / width, 1 / height) of each level, repeated for every point."""
    sizes = torch.tensor([(1 / w, 1 / h) for h, w in level_shapes for _ in range(points)], dtype=dtype)
    return sizes.flatten().to(device)


class SelfAttention(nn.Module):
    """Multi-head attention among the queries; `position` is added to queries and keys, not to values."""

    def __init__(self, *, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x, position: [B, Q, C] -> [B, Q, C]."""
        dim = x.shape[-1]
        (placed_weight, value_weight), (placed_bias, value_bias) = (
            parameter.split((2 * dim, dim)) for parameter in (self.qkv.weight, self.qkv.bias)
        )
        placed = F.linear(x + position, placed_weight, placed_bias)
        value = F.linear(x, value_weight, value_bias)
        q, k = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in placed.chunk(2, dim=-1))
        v = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).flatten(2))
