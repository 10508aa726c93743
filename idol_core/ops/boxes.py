"""Box formats and overlaps. Boxes are float tensors [..., 4]; every function broadcasts over leading dimensions."""

from __future__ import annotations

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert [..., 4] (centre x, centre y, width, height) -> [..., 4] (left, top, right, bottom)."""
    centre, size = boxes.split(2, dim=-1)
    half = 0.5 * size
    return torch.cat((centre - half, centre + half), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert [..., 4] (left, top, right, bottom) -> [..., 4] (centre x, centre y, width, height)."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)


def area(boxes_xyxy: Tensor) -> Tensor:
    """Area of boxes: [..., 4] -> [...]; negative where right < left or bottom < top (not both)."""
    top_left, bottom_right = boxes_xyxy.split(2, dim=-1)
    width, height = (bottom_right - top_left).unbind(-1)
    return width * height


def pairwise_iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and union of every xyxy box of a [..., n, 4] with every one of b [..., m, 4]: two [..., n, m]; the
    IoU of two boxes without area is 0."""
    top_left = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    bottom_right = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    inter = (bottom_right - top_left).clamp(min=0).prod(-1)
    union = area(a)[..., :, None] + area(b)[..., None, :] - inter
    return inter / union.clamp(min=torch.finfo(union.dtype).tiny), union


def pairwise_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al. 2019) of xyxy boxes [..., n, 4] and [..., m, 4] -> [..., n, m], in -1..1."""
    return pairwise_overlaps(a, b)[1]


def pairwise_overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`pairwise_iou` and `pairwise_giou` of the same boxes: two [..., n, m]."""
    iou, union = pairwise_iou(a, b)
    top_left = torch.minimum(a[..., :, None, :2], b[..., None, :, :2])
    bottom_right = torch.maximum(a[..., :, None, 2:], b[..., None, :, 2:])
    enclosing = (bottom_right - top_left).clamp(min=0).prod(-1)
    return iou, iou - (enclosing - union) / (enclosing + 1e-7)
