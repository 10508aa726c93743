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
    top_left, bottom_right = boxes_xyxy.split(2, dim=-1)
    goal_top_left, goal_bottom_right = targets_xyxy.split(2, dim=-1)
    inner = torch.minimum(bottom_right, goal_bottom_right) - torch.maximum(top_left, goal_top_left)  # [..., 2]
    outer = torch.maximum(bottom_right, goal_bottom_right) - torch.minimum(top_left, goal_top_left)
    intersection = torch.where((inner > 0).all(-1), _product(inner), 0.0)
    union = area(boxes_xyxy) + area(targets_xyxy) - intersection
    enclosing = _product(outer)
    return 1 - (intersection / (union + eps) - (enclosing - union) / (enclosing + eps))


def _product(sides: Tensor) -> Tensor:
    """Width times height: [..., 2] -> [...]."""
    width, height = sides.unbind(-1)
    return width * height
