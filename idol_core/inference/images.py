"""Segment single images, as needed to score step 1: no tracking, up to 100 (query, class) pairs per image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from idol_core.inference.select import class_logits_and_boxes, class_nms
from idol_core.model.idol import IDOL
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.structures import Decoded
from idol_core.tracking.device_masks import encode_anywhere
from idol_core.tracking.masks import Size

_BOX_NMS = 0.7
_MOST = 100  # COCO's limit of detections


class StillDetections(NamedTuple):
    """n (query, class) pairs of one image, by falling score. A query may occur with several classes."""

    scores: Tensor  # [n]
    classes: Tensor  # [n] int64
    boxes: Tensor  # [n, 4] xyxy, pixels
    queries: Tensor  # [n] int64


class StillInstances(NamedTuple):
    """The n reported instances of one image, in its original size."""

    scores: Tensor  # [n], falling
    classes: Tensor  # [n] int64
    boxes: Tensor  # [n, 4] xyxy, pixels, inside the image
    counts: list[bytes]  # [n] masks, compressed COCO run lengths


def select_pairs(logits: Tensor, boxes: Tensor, size: Size) -> StillDetections:
    """Select the best (query, class) pairs of one image, after box NMS among queries of the same best class.

    logits: [Q, K] before sigmoid; boxes: [Q, 4] cxcywh normalized; size: of the image without padding.
    """
    probs = logits.sigmoid()
    best, labels = probs.max(-1)
    kept = class_nms(boxes, best, labels, _BOX_NMS)
    scores, places = probs[kept].flatten().topk(min(_MOST, probs[kept].numel()))
    queries = kept[places // probs.shape[1]]
    height, width = size
    corners = cxcywh_to_xyxy(boxes[queries]) * boxes.new_tensor((width, height, width, height))
    return StillDetections(scores, places % probs.shape[1], corners, queries)


def finish_pairs(found: StillDetections, masks: dict[int, Tensor], size: Size, original: Size) -> StillInstances:
    """Resize boxes and masks to the original image; pairs whose box is empty there are dropped.

    masks: by query, for every query in `found`: mask logits [h/4, w/4] over the padded image.
    """
    scale = found.boxes.new_tensor((original[1] / size[1], original[0] / size[0])).repeat(2)
    limit = found.boxes.new_tensor((original[1], original[0])).repeat(2)
    boxes = torch.minimum((found.boxes * scale).clamp(min=0), limit)
    kept = ((boxes[:, 2:] > boxes[:, :2]).all(1)).nonzero()[:, 0]
    queries = found.queries[kept].tolist()
    drawn = sorted(set(queries))
    counts: dict[int, bytes] = {}
    if drawn:
        logits = torch.stack([masks[query] for query in drawn])
        counts = dict(zip(drawn, encode_anywhere(logits, size, original), strict=True))
    return StillInstances(found.scores[kept], found.classes[kept], boxes[kept], [counts[query] for query in queries])


@torch.no_grad()
def still_instances(model: IDOL, decoded: Decoded, originals: list[Size]) -> list[StillInstances]:
    """Instances of each of the B decoded images, in their `originals` sizes (height, width)."""
    features = model.mask_features(decoded)
    all_logits, all_boxes = class_logits_and_boxes(decoded)
    sizes = decoded.sizes.tolist()
    reported = []
    for row, (original, (height, width)) in enumerate(zip(originals, sizes, strict=True)):
        found = select_pairs(all_logits[row], all_boxes[row], (height, width))
        drawn = torch.unique(found.queries)
        queries = drawn.to(features.device)
        last = torch.full_like(queries, len(decoded.logits) - 1)
        logits = model.mask_logits(decoded, features, last, torch.full_like(queries, row), queries)
        masks = dict(zip(drawn.tolist(), logits, strict=True))
        reported.append(finish_pairs(found, masks, (height, width), original))
    return reported
