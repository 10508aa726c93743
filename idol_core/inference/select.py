"""Select the queries of a frame that go to the tracker, and compute masks and embeddings for these only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from idol_core.config import TrackerConfig
from idol_core.errors import IdolError
from idol_core.model.idol import IDOL
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.ops.nms import box_nms
from idol_core.structures import Decoded, Detections
from idol_core.tracking.device_masks import mask_changes
from idol_core.tracking.masks import Size
from idol_core.tracking.online import LeftDevice, Observation
from idol_core.tracking.tracker import mask_intersections, overlaps_of


def select_queries(logits: Tensor, boxes: Tensor, *, min_score: float, box_nms: float) -> Tensor:
    """Select one frame's queries with scores above `min_score`, after box NMS per class: indices [n] by falling score.

    If no score is above it, the single best query. logits: [Q, K] before sigmoid; boxes: [Q, 4] cxcywh normalized.
    """
    scores, labels = logits.sigmoid().max(-1)
    candidates = (scores > min_score).nonzero()[:, 0]
    if not len(candidates):
        return scores.argmax()[None]
    return candidates[class_nms(boxes[candidates], scores[candidates], labels[candidates], box_nms)]


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Box NMS within each class, over cxcywh boxes [n, 4]: indices kept, by falling score.

    Boxes of each class are shifted apart, as in the original, so that IoUs have the same rounding errors as there.
    """
    corners = cxcywh_to_xyxy(boxes)
    if not len(corners):
        return labels
    shift = labels.to(corners) * (corners.max() + 1)
    return box_nms(corners + shift[:, None], scores, threshold)


@torch.no_grad()
def select_detections(model: IDOL, decoded: Decoded, config: TrackerConfig) -> list[Detections]:
    """The detections of each of B frames, by falling score; masks and embeddings are computed for these only.

    Scores, labels, probabilities and boxes are on the CPU, where the selection is made; embeddings and mask logits stay
    on the network's device (see `observations`). Synchronizes with the device once.
    """
    logits, boxes = class_logits_and_boxes(decoded)
    chosen = [
        select_queries(logits[b], boxes[b], min_score=config.select_threshold, box_nms=config.box_nms)
        for b in range(len(logits))
    ]
    counts = [len(queries) for queries in chosen]
    query = torch.cat(chosen)
    row = torch.cat([torch.full((count,), b) for b, count in enumerate(counts)])
    probs = logits[row, query].sigmoid()
    scores, labels = probs.max(-1)
    boxes = boxes[row, query]
    row, query = torch.stack((row, query)).to(decoded.queries.device, non_blocking=True)
    layer = torch.full_like(query, len(decoded.logits) - 1)
    masks = model.mask_logits(decoded, model.mask_features(decoded), layer, row, query)
    fields = (scores, labels, probs, boxes, model.embed(decoded.queries[-1, row, query]), masks)
    return [Detections(*parts) for parts in zip(*(torch.split(field, counts) for field in fields), strict=True)]


def class_logits_and_boxes(decoded: Decoded) -> tuple[Tensor, Tensor]:
    """Class logits [B, Q, K] and boxes [B, Q, 4] of the last layer, float32 on the CPU, transferred in one copy.

    Raises IdolError if they are not finite.
    """
    logits, boxes = decoded.logits[-1].float(), decoded.boxes[-1].float()
    if logits.device.type != "cpu":
        logits, boxes = _to_host(torch.cat((logits, boxes), dim=-1)).split((logits.shape[-1], 4), dim=-1)
    if torch.cat((logits, boxes), dim=-1).isfinite().logical_not().any():
        fix = "fp16 can overflow: compute in float32 or bf16 (--precision); other weights if it is not that"
        raise IdolError("the network computes numbers that are not finite from a frame", where="class logits", fix=fix)
    return logits, boxes


@torch.no_grad()
def observations(found: Sequence[Detections], size: Size, original: Size) -> list[Observation]:
    """Bring what tracking needs of B frames to the CPU, with masks in the `original` size; synchronizes once.

    size: of the frames in the network, without padding.
    """
    if all(one.mask_logits.device.type == "cpu" for one in found):
        return [Observation(one, size, original) for one in found]
    host = _to_host(pack(found, size, original))
    counts, channels = [len(one.scores) for one in found], found[0].embeddings.shape[-1]
    pixels = -(-original[0] * original[1] // 8)
    sizes = [(4 * n * channels, 4 * n * n, n * pixels) for n in counts]
    parts = host.split([size for each in sizes for size in each])
    seen = []
    for one, n, *packed in zip(found, counts, parts[0::3], parts[1::3], parts[2::3], strict=True):
        embeddings, shared, changes = (part.clone() for part in packed)  # aligned
        masks = LeftDevice(overlaps_of(shared.view(torch.float32).view(n, n)), changes.view(n, -1).numpy())
        own = one._replace(embeddings=embeddings.view(torch.float32).view(n, channels))
        seen.append(Observation(own, size, original, masks))
    return seen


def _to_host(values: Tensor) -> Tensor:
    """Copy to pinned memory, and wait for this thread's stream only."""
    host = values.to("cpu", non_blocking=True)
    if torch.cuda.is_initialized():  # not with fake tensors
        torch.cuda.current_stream(values.device).synchronize()
    return host


def pack(found: Sequence[Detections], size: Size, original: Size) -> Tensor:
    """Pack each frame's embeddings, mask intersections and `mask_changes` into one uint8 tensor on their device."""
    changes = mask_changes(torch.cat([one.mask_logits for one in found]), size, original)
    parts: list[Tensor] = []
    for one, own in zip(found, changes.split([len(one.scores) for one in found]), strict=True):
        shared = mask_intersections(one.mask_logits)
        parts += (one.embeddings.float().flatten().view(torch.uint8), shared.flatten().view(torch.uint8), own.flatten())
    return torch.cat(parts)
