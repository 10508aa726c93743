"""Muon (Jordan et al. 2024): momentum whose steps are orthogonal matrices, for the hidden layers of a fresh network.

torch.optim.Muon takes matrices alone, one after the other and in bfloat16, which a processor without such instructions
computes ten times slower; here convolutions take part, all weights of one shape go together, and in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
SCALE = 0.5  # a step's root mean square in learning rates; .2 would be AdamW's (Liu et al. 2025), which learns slower
QUINTIC = (3.4445, -4.7750, 2.0315)  # brings singular values of 0..1 near 1
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Over parameters of two or more dimensions; those after the first are taken as one. Weight decay is decoupled."""

    def __init__(self, params: Iterable[Any], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                steps = orthogonal(torch.stack([self._momentum(p) for p in parameters]).flatten(2))
                steps *= -group["lr"] * SCALE * max(steps.shape[1:]) ** 0.5
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(steps.reshape(-1, *shape)))

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Nesterov's: the mean of past gradients as it will be, were this one to come again."""
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        state["momentum"].lerp_(grad, 1 - MOMENTUM)
        return grad.lerp(state["momentum"], MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """[n, r, c] -> [n, r, c] with the singular vectors of each and singular values of about .7 to 1.2 (those below a
    thousandth of the norm stay smaller): Newton-Schulz iteration, carried out on the smaller square of each matrix.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    matrices = matrices / matrices.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]
    square = matrices @ matrices.mT
    product = eye = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        factor = a * eye + b * square + c * square @ square
        square = factor @ square @ factor
        product = factor @ product
    return product @ matrices
