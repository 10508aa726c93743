"""Muon (Jordan et al. 2024): an optimizer whose steps are orthogonalised momentum, for hidden layers.

torch.optim.Muon takes only matrices, one by one and in bfloat16, which is ten times slower on a processor without
bfloat16 instructions. This one also takes convolutions, batches all matrices whose shorter sides are equal, and
computes in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
SCALE = 0.5  # RMS of a step / learning rate; .2 would match AdamW (Liu et al. 2025) but learns slower
# Coefficients (a, b, c) of polynomials a x + b x^3 + c x^5. Applied in turn, they map singular values of .002..1 to
# .68..1.32; each is optimal for the previous one's output (Amsel et al. 2025, "The Polar Express", for four rounds).
ROUNDS = (
    (8.426788, -24.936135, 18.492494),
    (4.111647, -3.059130, 0.574954),
    (3.714570, -2.778125, 0.542939),
    (2.781950, -2.074927, 0.463501),
)
MARGIN = 1.02  # keeps values below 1 in spite of rounding: values above 1 would grow
SMALLEST = 1e-12  # least norm to divide by; its square is well within the range of float32


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two or more dimensions; those after the first are flattened. Decoupled weight decay."""

    def __init__(self, params: Iterable[Any], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; none if the attribute `found_inf` (0-d, as torch's fused
        optimizers take it) is 1."""
        broken: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            steps = orthogonal([self._directions(parameters, broken).flatten(2) for parameters in alike.values()])
            decay = group["lr"] * group["weight_decay"]
            for parameters, step in zip(alike.values(), steps, strict=True):
                step *= -group["lr"] * SCALE * max(step.shape[1:]) ** 0.5
                if broken is not None:
                    step *= 1 - broken
                torch._foreach_mul_(parameters, 1 - (decay if broken is None else decay * (1 - broken)))
                torch._foreach_add_(parameters, list(step.reshape(-1, *parameters[0].shape)))

    def _directions(self, parameters: Sequence[Tensor], broken: Tensor | None) -> Tensor:
        """Nesterov momentum of n parameters of one shape, [n, *shape]; updates their running means of gradients.

        If `broken` is 1 the means stay as they are, and are the directions.
        """
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        if broken is not None:
            grads = [grad.where(broken == 0, momentum) for grad, momentum in zip(grads, momenta, strict=True)]
        torch._foreach_lerp_(momenta, grads, 1 - MOMENTUM)
        return torch.stack(grads).lerp_(torch.stack(momenta), MOMENTUM)


def orthogonal(stacks: Sequence[Tensor]) -> list[Tensor]:
    """Orthogonalise matrices approximately: keep the singular vectors, bring the singular values to .68..1.32.

    Takes and returns stacks of shape [n, r, c]. Singular values below 1/500 of the largest stay smaller than .68. The
    iteration runs on the smaller Gram matrix of each matrix, all those of one size in one batch.
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
    """Divide each matrix by its Frobenius norm, so that its square is in the range of float32.

    Norms below SMALLEST are not scaled up to 1: the momentum of a layer without gradients decays towards zero.
    """
    return matrices / matrices.flatten(1).norm(dim=1).clamp(min=SMALLEST)[:, None, None]


def _inverse_roots(squares: Tensor) -> Tensor:
    """Approximate the inverse square roots of positive semidefinite matrices, [n, r, r] -> [n, r, r]."""
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
