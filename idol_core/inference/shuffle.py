"""Ablation of the embeddings: shuffle them before tracking."""

from __future__ import annotations

import torch

from idol_core.structures import Detections


class EmbeddingShuffle:
    """Ablation: shuffle embeddings among a frame's detections; the AP drop is their contribution.

    For `VideoSegmenter(transform_detections=)`.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, detections: Detections) -> Detections:
        order = torch.randperm(len(detections.scores), generator=self._generator)
        return detections._replace(embeddings=detections.embeddings[order.to(detections.embeddings.device)])
