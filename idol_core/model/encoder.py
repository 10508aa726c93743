"""The deformable encoder (Zhu et al. 2021): every pyramid cell attends to points around it on all levels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from idol_core.model.attention import DeformableAttention, Places, places_around
from idol_core.model.layers import FeedForward
from idol_core.model.pyramid import Pyramid
from idol_core.ops.deform_attn import LevelShapes
from idol_core.ops.numeric import autocast_once
from idol_core.ops.recompute import recomputed


class EncoderLayer(nn.Module):
    """Deformable self-attention, then the feed-forward block; a residual and norm each."""

    def __init__(self, *, attention: DeformableAttention, feedforward: FeedForward, dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.norm = nn.LayerNorm(dim)
        self.feedforward = feedforward
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, position: Tensor, places: Places, level_shapes: LevelShapes, padding: Tensor | None
    ) -> Tensor:
        """x, position: [B, S, C]; padding: [B, S] or None -> [B, S, C]."""
        memory = autocast_once(x)
        mixed = self.attention(memory + position, places, memory, level_shapes, padding)
        return self.feedforward(self.norm(x + self.dropout(mixed)))


class Encoder(nn.Module):
    """Encode a pyramid: Pyramid -> memory [B, S, C]. Padded cells are queries, too.

    `checkpoint`: recompute every layer in the backward pass to save memory.
    """

    def __init__(self, layers: Sequence[EncoderLayer], *, checkpoint: bool = False) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.layers = nn.ModuleList(layers)
        self.points = layers[0].attention.points

    def forward(self, pyramid: Pyramid) -> Tensor:
        x, position = pyramid.cells, autocast_once(pyramid.position)
        shapes = pyramid.level_shapes
        places = places_around(pyramid.references, shapes, self.points)
        for layer in self.layers:
            x = recomputed(layer, x, position, places, shapes, pyramid.padding, enabled=self.checkpoint)
        return x
