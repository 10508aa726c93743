"""Optimiser, learning-rate schedule and gradient clipping of a stage (paper section 5.1, published recipes)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from idol_core.backbones.resnet import NormedConv
from idol_core.config import SolverConfig
from idol_core.engine.muon import Muon

# Parts of the names of output layers, whose outputs have a scale with a meaning: AdamW trains them even with Muon.
CLASS_HEADS = "class_heads."
OUTPUTS = (CLASS_HEADS, "reference_head.", "layers.2.")


def make_optimizers(model: nn.Module, solver: SolverConfig) -> list[torch.optim.Optimizer]:
    """AdamW over the trainable parameters: group 1 is the backbone at `backbone_lr_factor` x lr, group 0 the rest.

    With a `pretrained_lr_factor` other than 1 both learn at that factor less, and group 2, the class heads, at lr. With
    solver.optimizer "muon" a second optimizer, with the same groups, trains the weights of hidden layers instead.
    Weight decay is the same everywhere, norms and biases included, as in the published runs.
    """
    hidden = {name for name in _weights(model) if not any(part in name for part in OUTPUTS)}
    slower = solver.pretrained_lr_factor
    factors = [slower, slower * solver.backbone_lr_factor] + [1.0] * (slower != 1.0)
    parts: dict[tuple[bool, int], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_muon = solver.optimizer == "muon" and name in hidden
            group = 1 if name.startswith("backbone.") else 2 if slower != 1.0 and CLASS_HEADS in name else 0
            parts.setdefault((by_muon, group), []).append(parameter)

    def groups(by_muon: bool) -> list[dict[str, Any]]:
        return [{"params": parts.get((by_muon, i), []), "factor": factor} for i, factor in enumerate(factors)]

    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups(False), lr=solver.lr, weight_decay=solver.weight_decay, fused=True)
    ]
    if solver.optimizer == "muon":
        made.append(Muon(groups(True), lr=solver.lr, weight_decay=solver.weight_decay))
    return made


def full_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state dict with the moments of every parameter, as tensors without memory (meta device): what a
    checkpoint is compared with."""
    names = ("momentum",) if isinstance(optimizer, Muon) else ("exp_avg", "exp_avg_sq")
    steps = {} if isinstance(optimizer, Muon) else {"step": torch.empty((), device="meta")}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = [{name: torch.empty_like(p, device="meta") for name in names} for p in parameters]
    state = {index: {**steps, **found} for index, found in enumerate(moments)}
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _weights(model: nn.Module) -> Iterator[str]:
    """Names of the weights of linear layers and convolutions."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, NormedConv)):
            yield f"{name}.weight"


def lr_factor(iteration: int, solver: SolverConfig) -> float:
    """Factor on `solver.lr` at an iteration (0..iterations-1): linear warm-up, then steps or a half cosine to 0."""
    factor = 1.0
    if iteration < solver.warmup_iterations:
        done = iteration / solver.warmup_iterations
        factor = solver.warmup_factor * (1 - done) + done
    if solver.schedule == "cosine":
        return factor * 0.5 * (1 + math.cos(math.pi * iteration / solver.iterations))
    return factor * solver.gamma ** sum(iteration >= milestone for milestone in solver.milestones)


def set_lr(optimizers: Sequence[torch.optim.Optimizer], iteration: int, solver: SolverConfig) -> float:
    """Set every group's learning rate for `iteration`; returns that of group 0."""
    lr = solver.lr * lr_factor(iteration, solver)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"]
    return lr


def skip_unless_finite(optimizers: Sequence[torch.optim.Optimizer], norm: Tensor) -> None:
    """Make the next step change neither weights nor moments if the gradients' `norm` (0-d) is not finite.

    The decision is made on the device. A GradScaler that is enabled decides in the same way, by itself.
    """
    broken = (~norm.isfinite()).float()
    for optimizer in optimizers:
        optimizer.found_inf = broken  # type: ignore[attr-defined]  # read by torch's fused AdamW and by Muon


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most `max_norm`; returns the norm before (0-d)."""
    return nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], max_norm)
