"""Classification and box losses per element, without reduction: callers sum and divide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.ops.boxes import area


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float) -> Tensor:
    """Sigmoid focal loss with gamma 2 (Lin et al. 2017) of logits [...] against bool targets [...]: [...], >= 0.

    `alpha` weighs the positive elements, 1 - alpha the others.
    """
    positive = targets.to(logits.dtype)
    wrong = logits * (1 - 2 * positive)  # logit of the wrong answer: its sigmoid is |probability - target|
    error = wrong.sigmoid()
    return ((1 - alpha) + (2 * alpha - 1) * positive) * (error * error * F.softplus(wrong))


def l1_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Sum of the absolute differences of the four coordinates: [..., 4] and [..., 4] -> [...]."""
    return (boxes - targets).abs().sum(-1)


def giou_loss(boxes_xyxy: Tensor, targets_xyxy: Tensor, *, eps: float = 1e-7) -> Tensor:
    """1 - generalised IoU (Rezatofighi et al. 2019) of corresponding xyxy boxes: [..., 4], [..., 4] -> [...], in 0..2.

    `eps` is added to both denominators, so boxes without area give finite values and gradients.
    """
    inner = torch.cat(
        (
            torch.maximum(boxes_xyxy[..., :2], targets_xyxy[..., :2]),
            torch.minimum(boxes_xyxy[..., 2:], targets_xyxy[..., 2:]),
        ),
        dim=-1,
    )
    outer = torch.cat(
        (
            torch.minimum(boxes_xyxy[..., :2], targets_xyxy[..., :2]),
            torch.maximum(boxes_xyxy[..., 2:], targets_xyxy[..., 2:]),
        ),
        dim=-1,
    )
    overlaps = (inner[..., 2:] > inner[..., :2]).all(-1)
    intersection = torch.where(overlaps, area(inner), 0.0)
    union = area(boxes_xyxy) + area(targets_xyxy) - intersection
    enclosing = area(outer)
    return 1 - (intersection / (union + eps) - (enclosing - union) / (enclosing + eps))
