"""IDOL (Wu et al. 2022): Deformable DETR with a CondInst mask head and an association embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idol_core.model.decoder import Decoder
from idol_core.model.encoder import Encoder
from idol_core.model.layers import EmbedHead
from idol_core.model.mask_head import MaskHead
from idol_core.model.pyramid import PyramidProjection
from idol_core.ops.numeric import at_least_float32
from idol_core.ops.pixels import normalized
from idol_core.structures import Decoded, FrameBatch, chosen


class IDOL(nn.Module):
    """The network: predicts queries with classes and boxes; masks and embeddings of chosen queries on demand.

        frames -> backbone -> pyramid -> encoder -> decoder -> Decoded
                                            memory -> mask_features -> mask_logits
                                                     queries -> embed

    `embed_head` is None in step 1's model.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        pyramid: PyramidProjection,
        encoder: Encoder,
        decoder: Decoder,
        mask_head: MaskHead,
        embed_head: EmbedHead | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.encoder = encoder
        self.decoder = decoder
        self.mask_head = mask_head
        self.embed_head = embed_head

    def forward(self, frames: FrameBatch) -> Decoded:
        """Run backbone to decoder on frames; their padded height and width must be multiples of 32."""
        frames = normalized(frames)
        images = frames.images.contiguous(memory_format=torch.channels_last)  # the fastest layout for convolutions
        pyramid = self.pyramid(self.backbone(images), frames.padding, frames.known_sizes)
        memory = self.encoder(pyramid)
        out = self.decoder(memory, pyramid)
        return Decoded(
            out.queries, out.logits, out.boxes, out.references, memory, pyramid.level_shapes, frames.sizes
        )  # fmt: skip

    def mask_features(self, decoded: Decoded) -> Tensor:
        """Compute the mask features [B, M, H/8, W/8], float, >= 0; needed once for all masks of these frames."""
        return self.mask_head.features(decoded.memory, decoded.level_shapes)

    def mask_logits(self, decoded: Decoded, features: Tensor, layer: Tensor, row: Tensor, query: Tensor) -> Tensor:
        """Compute mask logits of n chosen queries, over the padded frame at stride 4.

        Args:
            decoded, features: of the same B frames.
            layer, row, query: [n] int64 each; entry i is query[i] of frame row[i] after decoder layer layer[i].

        Returns:
            [n, H/4, W/4] float.
        """
        place = decoded.place(layer, row, query)
        points = chosen(decoded.references, place) * decoded.sizes[row].flip(-1)
        return self.mask_head(chosen(decoded.queries, place), points, features, row)

    def embed(self, queries: Tensor) -> Tensor:
        """Embed queries: [..., C] -> [..., C]. Raises ValueError on step 1's model, which has no embedding head."""
        if self.embed_head is None:
            raise ValueError("this model has no embedding head (step 1)")
        with torch.autocast(queries.device.type, enabled=False):  # dot products of embeddings need float32
            return self.embed_head(at_least_float32(queries))
