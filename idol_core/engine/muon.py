"""Muon (Jordan et al. 2024): an optimizer whose steps are orthogonalised momentum, for hidden layers.

torch.optim.Muon takes matrices alone, one after the other and in bfloat16, which a processor without such instructions
computes ten times slower; here convolutions take part, all matrices with one shorter side go together, and in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
SCALE = 0.5  # a step's root mean square in learning rates; .2 would be AdamW's (Liu et al. 2025), which learns slower
# Odd polynomials a x + b x^3 + c x^5, one after the other, that bring singular values of .002..1 to .68..1.32: each the
# best for what the one before leaves (Amsel et al. 2025, "The Polar Express", computed here for four rounds).
ROUNDS = (
    (8.426788, -24.936135, 18.492494),
    (4.111647, -3.059130, 0.574954),
    (3.714570, -2.778125, 0.542939),
    (2.781950, -2.074927, 0.463501),
)
MARGIN = 1.02  # what lies above 1 even by rounding grows
SMALLEST = 1e-12  # norm that counts; its square is well above a float's smallest


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
            steps = orthogonal([self._directions(parameters).flatten(2) for parameters in alike.values()])
            for parameters, step in zip(alike.values(), steps, strict=True):
                step *= -group["lr"] * SCALE * max(step.shape[1:]) ** 0.5
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(step.reshape(-1, *parameters[0].shape)))

    def _directions(self, parameters: Sequence[Tensor]) -> Tensor:
        """Nesterov's: the mean of past gradients as it will be, were this one to come again; [n, *shape]."""
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, grads, 1 - MOMENTUM)
        return torch.stack(grads).lerp_(torch.stack(momenta), MOMENTUM)


def orthogonal(stacks: Sequence[Tensor]) -> list[Tensor]:
    """Stacks of matrices, each [n, r, c] -> the same, each matrix with its singular vectors and with singular values of
    .68 to 1.32 (those below a five-hundredth of the largest stay smaller). The iteration is carried out on the smaller
    square of each matrix, all squares of one size at once.
    """
    wide = [_of_norm_one(stack.mT if stack.shape[1] > stack.shape[2] else stack) for stack in stacks]
    of_size: dict[int, list[int]] = defaultdict(list)
    for index, stack in enumerate(wide):
        of_size[stack.shape[1]].append(index)
    found = list(stacks)
    for indices in of_size.values():
        squares = torch.cat([wide[i] @ wide[i].mT for i in indices])
        inverses = _inverse_roots(squares).split([len(wide[i]) for i in indices])
        for i, inverse in zip(indices, inverses, strict=True):
            result = inverse @ wide[i]
            found[i] = result if wide[i].shape == stacks[i].shape else result.mT
    return found


def _of_norm_one(matrices: Tensor) -> Tensor:
    """Each divided by its Frobenius norm, so that its square is in a float's range; what is next to nothing remains so:
    the momentum of a layer that gets no gradient any more falls to zero through all magnitudes.
    """
    return matrices / matrices.flatten(1).norm(dim=1).clamp(min=SMALLEST)[:, None, None]


def _inverse_roots(squares: Tensor) -> Tensor:
    """[n, r, r] positive semidefinite -> [n, r, r], about their inverse square roots."""
    size = MARGIN * squares.flatten(1).norm(dim=1).clamp(min=SMALLEST)[:, None, None]  # no eigenvalue is larger
    square, product = squares / size, None
    for index, (a, b, c) in enumerate(ROUNDS):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if index + 1 < len(ROUNDS):
            square = factor @ square @ factor
    assert product is not None
    return product / size.sqrt()
