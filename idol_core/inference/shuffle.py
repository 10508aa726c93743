"""Experiments on the detections that the tracker sees."""

from __future__ import annotations

import torch

from idol_core.structures import Detections


class EmbeddingShuffle:
    """Deals the embeddings of a frame's detections out anew: what is then lost in AP, the embeddings had brought.

    For `VideoSegmenter(transform_detections=)`.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, detections: Detections) -> Detections:
        order = torch.randperm(len(detections.scores), generator=self._generator)
        return detections._replace(embeddings=detections.embeddings[order.to(detections.embeddings.device)])
