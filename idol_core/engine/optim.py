"""Optimiser, learning-rate schedule and gradient clipping of a stage (paper section 5.1, published recipes)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from idol_core.config import SolverConfig


def make_optimizer(model: nn.Module, solver: SolverConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters: group 0 everything, group 1 the backbone at `backbone_lr_factor` x lr.

    Weight decay is the same everywhere, norms and biases included, as in the published runs.
    """
    parts: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[name.startswith("backbone.")].append(parameter)
    groups = [
        {"params": parts[False], "factor": 1.0},
        {"params": parts[True], "factor": solver.backbone_lr_factor},
    ]
    return torch.optim.AdamW(groups, lr=solver.lr, weight_decay=solver.weight_decay, fused=True)


def lr_factor(iteration: int, solver: SolverConfig) -> float:
    """What multiplies `solver.lr` in iteration 0..iterations-1: linear warm-up, then steps or a half cosine to 0."""
    factor = 1.0
    if iteration < solver.warmup_iterations:
        done = iteration / solver.warmup_iterations
        factor = solver.warmup_factor * (1 - done) + done
    if solver.schedule == "cosine":
        return factor * 0.5 * (1 + math.cos(math.pi * iteration / solver.iterations))
    return factor * solver.gamma ** sum(iteration >= milestone for milestone in solver.milestones)


def set_lr(optimizer: torch.optim.Optimizer, iteration: int, solver: SolverConfig) -> float:
    """Set every group's learning rate for `iteration`; returns that of group 0."""
    lr = solver.lr * lr_factor(iteration, solver)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
    return lr


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most `max_norm`; returns the norm before (0-d)."""
    return nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], max_norm)
