"""The two attentions of the transformer's layers."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.ops.deform_attn import LevelShapes, deformable_attention


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention (Zhu et al. 2021): a query samples `points` places on each of `levels` maps."""

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
        self, query: Tensor, references: Tensor, memory: Tensor, level_shapes: LevelShapes, padding: Tensor | None
    ) -> Tensor:
        """
        Args:
            query: [B, Q, C], position included.
            references: [B, Q, L, 2] points or [B, Q, L, 4] boxes (cxcywh), 0..1 across each padded level. Offsets count
                cells around a point, and (half extents / points) around the centre of a box.
            memory: [B, S, C].
            level_shapes: (height, width) of each level.
            padding: [B, S] bool, or None; padded cells are sampled as zero.
        """
        b, q, _ = query.shape
        value = self.value(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        weights = self.weights(query).view(b, q, self.heads, self.levels * self.points).softmax(-1)
        sampled = deformable_attention(
            value.view(b, -1, self.heads, value.shape[-1] // self.heads),
            level_shapes,
            self._locations(self.offsets(query), references, level_shapes),
            weights.view(b, q, self.heads, self.levels, self.points),
        )
        return self.output(sampled)

    def _locations(self, offsets: Tensor, references: Tensor, level_shapes: LevelShapes) -> Tensor:
        """[B, Q, heads * L * points * 2] offsets -> [B, Q, heads, L, points, 2], by one operation over long rows."""
        b, q, _ = offsets.shape
        dtype = torch.promote_types(references.dtype, offsets.dtype)  # float32 under autocast
        places = references.to(dtype)[:, :, :, None].expand(-1, -1, -1, self.points, -1)  # [B, Q, L, points, 2 or 4]
        starts = places[..., :2].reshape(b, q, 1, -1)
        if references.shape[-1] == 2:
            steps = _cell_sizes(level_shapes, self.points, dtype, starts.device)
        else:
            steps = (places[..., 2:] * (0.5 / self.points)).reshape(b, q, 1, -1)
        locations = torch.addcmul(starts, offsets.view(b, q, self.heads, -1).to(dtype), steps)
        return locations.view(b, q, self.heads, self.levels, self.points, 2)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _cell_sizes(level_shapes: LevelShapes, points: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[L * points * 2] (1 / width, 1 / height) of each level, repeated for every point."""
    sizes = torch.tensor([(1 / w, 1 / h) for h, w in level_shapes for _ in range(points)], dtype=dtype)
    return sizes.flatten().to(device)


class SelfAttention(nn.Module):
    """Multi-head attention among the queries; position enters queries and keys, not values."""

    def __init__(self, *, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x, position: [B, Q, C] -> [B, Q, C]."""
        dim = x.shape[-1]
        placed = F.linear(x + position, self.qkv.weight[: 2 * dim], self.qkv.bias[: 2 * dim])
        value = F.linear(x, self.qkv.weight[2 * dim :], self.qkv.bias[2 * dim :])
        q, k = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in placed.chunk(2, dim=-1))
        v = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).flatten(2))
