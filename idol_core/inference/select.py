"""Which queries of a frame go to the tracker, and all that the tracker and the masks need of them, and no more."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from idol_core.config import TrackerConfig
from idol_core.model.idol import IDOL
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.structures import Decoded, Detections


def select_queries(logits: Tensor, boxes: Tensor, *, min_score: float, box_nms: float) -> Tensor:
    """Indices [n] of one frame's queries by falling score: those above `min_score`, less the overlapping of a class.

    If none is above it, the single best query. logits: [Q, K] before sigmoid; boxes: [Q, 4] cxcywh normalized.
    """
    scores, labels = logits.sigmoid().max(-1)
    candidates = (scores > min_score).nonzero()[:, 0]
    if not len(candidates):
        return scores.argmax()[None]
    return candidates[class_nms(boxes[candidates], scores[candidates], labels[candidates], box_nms)]


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Box NMS within each class, over cxcywh boxes [n, 4]: indices kept, by falling score.

    Classes are kept apart by shifting their boxes, as the original does: it decides what rounding does to the IoU.
    """
    corners = cxcywh_to_xyxy(boxes)
    if not len(corners):
        return labels
    shift = labels.to(corners) * (corners.max() + 1)
    kept: Tensor = nms(corners + shift[:, None], scores, threshold)
    return kept


@torch.no_grad()
def select_detections(model: IDOL, decoded: Decoded, config: TrackerConfig) -> list[Detections]:
    """The detections of each of B frames, by falling score; masks and embeddings are computed for these only."""
    logits, boxes = decoded.logits[-1].float(), decoded.boxes[-1].float()
    chosen = [
        select_queries(logits[b], boxes[b], min_score=config.select_threshold, box_nms=config.box_nms)
        for b in range(len(logits))
    ]
    counts = [len(queries) for queries in chosen]
    query = torch.cat(chosen)
    row = torch.arange(len(counts), device=query.device).repeat_interleave(torch.tensor(counts, device=query.device))
    layer = torch.full_like(query, len(decoded.logits) - 1)
    masks = model.mask_logits(decoded, model.mask_features(decoded), layer, row, query)
    probs = logits[row, query].sigmoid()
    scores, labels = probs.max(-1)
    fields = (scores, labels, probs, boxes[row, query], model.embed(decoded.queries[-1, row, query]), masks)
    return [Detections(*parts) for parts in zip(*(torch.split(field, counts) for field in fields), strict=True)]
