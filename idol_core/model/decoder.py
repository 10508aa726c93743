"""The deformable decoder with iterative box refinement (Zhu et al. 2021, section 4.2 and appendix A.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from idol_core.model.attention import DeformableAttention, Places, SelfAttention, places_around
from idol_core.model.layers import MLP, FeedForward
from idol_core.model.pyramid import Pyramid
from idol_core.ops.numeric import at_least_float32, autocast_once, inverse_sigmoid


class DecoderLayer(nn.Module):
    """Self-attention among the queries, deformable attention to the memory, feed-forward; a residual and norm each."""

    def __init__(
        self,
        *,
        self_attention: SelfAttention,
        cross_attention: DeformableAttention,
        feedforward: FeedForward,
        dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.self_norm = nn.LayerNorm(dim)
        self.cross_attention = cross_attention
        self.cross_norm = nn.LayerNorm(dim)
        self.feedforward = feedforward
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, places: Places, memory: Tensor, pyramid: Pyramid) -> Tensor:
        """x, position: [B, Q, C]; memory: [B, S, C] -> [B, Q, C]."""
        x = self.self_norm(x + self.dropout(self.self_attention(autocast_once(x), position)))
        query = autocast_once(x) + position
        seen = self.cross_attention(query, places, memory, pyramid.level_shapes, pyramid.padding)
        return self.feedforward(self.cross_norm(x + self.dropout(seen)))


class DecoderOutput(NamedTuple):
    """Outputs of all decoder layers, as in `Decoded`."""

    queries: Tensor  # [L, B, Q, C]
    logits: Tensor  # [L, B, Q, K]
    boxes: Tensor  # [L, B, Q, 4] cxcywh, 0..1
    references: Tensor  # [L, B, Q, 2] (x, y) that the layer's box prediction started from


class Decoder(nn.Module):
    """Learned queries, each with a position and a content embedding, refined layer by layer.

    Args:
        layers, class_heads, box_heads: one per layer; class heads give K logits, box heads cxcywh offsets from the
            layer's reference, before sigmoid.
        queries: number of queries.
        dim: C.
    """

    def __init__(
        self,
        *,
        layers: Sequence[DecoderLayer],
        class_heads: Sequence[nn.Linear],
        box_heads: Sequence[MLP],
        queries: int,
        dim: int,
    ) -> None:
        super().__init__()
        self.query_embedding = nn.Parameter(torch.empty(queries, 2 * dim))  # position, then content
        self.reference_head = nn.Linear(dim, 2)
        self.layers = nn.ModuleList(layers)
        self.points = layers[0].cross_attention.points
        self.class_heads = nn.ModuleList(class_heads)
        self.box_heads = nn.ModuleList(box_heads)

    def forward(self, memory: Tensor, pyramid: Pyramid) -> DecoderOutput:
        """memory: [B, S, C], encoder output. References: learned in layer 0, then the previous boxes, detached."""
        position, content = self.query_embedding.chunk(2, dim=1)
        b = memory.shape[0]
        initial = at_least_float32(self.reference_head(position)).sigmoid()
        position, x, reference = (t.expand(b, -1, -1) for t in (autocast_once(position), content, initial))
        memory = autocast_once(memory)
        scales = (pyramid.valid_ratios[:, None], pyramid.valid_ratios.repeat(1, 1, 2)[:, None])  # for points, for boxes

        queries, logits, boxes, references = [], [], [], []
        for layer, class_head, box_head in zip(self.layers, self.class_heads, self.box_heads, strict=True):
            scale = scales[reference.shape[-1] == 4]
            places = places_around(reference[:, :, None] * scale, pyramid.level_shapes, self.points)
            x = layer(x, position, places, memory, pyramid)

            start = inverse_sigmoid(reference)
            with torch.autocast(x.device.type, enabled=False):  # scores and boxes need float32 precision
                exact = at_least_float32(x)
                delta, logit = box_head(exact), class_head(exact)
            if start.shape[-1] == 2:  # the first layer's references are points: no width, height to add to
                box = torch.cat((delta[..., :2] + start, delta[..., 2:]), dim=-1).sigmoid()
            else:
                box = (delta + start).sigmoid()
            # In training the published model gives the mask head references clamped by the inverse sigmoid.
            references.append(start[..., :2].sigmoid() if self.training else reference[..., :2])
            queries.append(x)
            logits.append(logit)
            boxes.append(box)
            reference = box.detach()
        return DecoderOutput(torch.stack(queries), torch.stack(logits), torch.stack(boxes), torch.stack(references))
