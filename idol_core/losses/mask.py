"""Losses of instance masks: focal and Dice, one value per mask."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mask_losses(logits: Tensor, targets: Tensor, *, alpha: float) -> tuple[Tensor, Tensor]:
    """Focal and Dice loss of n masks of any size: logits [n, ...] against bool targets [n, ...] -> two [n].

    First the mean over pixels of the focal loss with gamma 2 (`detection.focal_loss`), then 1 - Dice coefficient
    (Milletari et al. 2016) with 1 added to numerator and denominator. Masks are by far the largest tensors of the
    objective, so both come from one sigmoid: the error |probability - target| of every pixel.
    """
    inside = targets.flatten(1).to(logits.dtype)
    wrong = logits.flatten(1) * (1 - 2 * inside)  # logit of the wrong answer: its sigmoid is |probability - target|
    error = wrong.sigmoid()
    weight = (1 - alpha) + (2 * alpha - 1) * inside
    focal = (weight * (error * error * F.softplus(wrong))).mean(1)

    area, missed = inside.sum(1), (error * inside).sum(1)
    spilled = error.sum(1) - missed
    intersection = area - missed
    dice = 1 - (2 * intersection + 1) / (intersection + spilled + area + 1)
    return focal, dice
