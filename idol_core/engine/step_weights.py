"""The weights that a training step computes with, made from the trained ones once a step in a few operations.

In bf16 and fp16 autocast casts every weight and bias where it is used, and every frozen batch norm is folded into its
convolution there: about 900 operations a step of R50, forward and backward, each of which the host has to start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from idol_core.backbones.resnet import NormedConv, scales_and_shifts
from idol_core.config import Precision
from idol_core.inference.prepare import in_autocast
from idol_core.model.idol import IDOL
from idol_core.ops.precision import HALVES


class _Use(NamedTuple):
    """A place in the model where a weight is used."""

    place: str  # the module's name
    module: nn.Module
    name: str  # of the weight in the module
    weight: nn.Parameter
    scale: Tensor | None  # of a frozen batch norm, [outputs, 1, 1, 1]


@contextmanager
def step_weights(model: IDOL, precision: Precision) -> Iterator[None]:
    """Context manager for a training step's forward and backward: modules compute with weights made once, here.

    The numbers are those of a step without it, to the bit, and gradients reach the trained weights. `model` must not be
    saved or copied within. One part of the network after the other gets its gradients, so that a group of processes
    averages those of later parts while those of earlier ones are computed.
    """
    dtype = HALVES.get(precision, torch.float32)
    norms = [module for module in model.modules() if isinstance(module, NormedConv)]
    scales, shifts = scales_and_shifts([conv.norm for conv in norms], dtype)
    cast = {module for part in in_autocast(model) for module in part.modules()} if precision in HALVES else set()
    replaced: list[_Use] = []
    try:
        for part in _parts(_uses(model, dict(zip(norms, scales, strict=True)), cast)):
            for use, made in zip(part, _made(part, dtype), strict=True):
                replaced.append(use)
                use.module._parameters[use.name] = made  # type: ignore[assignment]  # torch.func does the same
        for conv, shift in zip(norms, shifts, strict=True):
            conv.shift = shift
        yield
    finally:
        for use in replaced:
            use.module._parameters[use.name] = use.weight
        for conv in norms:
            conv.shift = None


def _uses(model: IDOL, scales: dict[NormedConv, Tensor], cast: set[nn.Module]) -> Iterator[_Use]:
    """Yield the weights to make: of convolutions with a frozen norm, and those that autocast would cast."""
    for place, module in model.named_modules():
        if isinstance(module, NormedConv):
            yield _Use(place, module, "weight", module.weight, scales[module])
        elif module in cast and type(module) in (nn.Linear, nn.Conv2d):  # a subclass may do something else with them
            yield from (_Use(place, module, name, p, None) for name, p in module.named_parameters(recurse=False))


def _parts(uses: Iterator[_Use]) -> Iterator[list[_Use]]:
    """Group weights by part of the network (encoder, decoder, each stage of the backbone), frozen ones apart."""

    def part(use: _Use) -> list[str]:
        return use.place.split(".")[: 2 if use.place.startswith("backbone.") else 1]

    for _, of_part in groupby(uses, part):
        found = list(of_part)
        for learned in (True, False):
            if chosen := [use for use in found if use.weight.requires_grad == learned]:
                yield chosen


def _made(uses: Sequence[_Use], dtype: torch.dtype) -> Sequence[Tensor]:
    made: Sequence[Tensor] = _Make.apply(dtype, [use.scale for use in uses], *(use.weight for use in uses))
    return made


class _Make(torch.autograd.Function):
    """Weights times their scales, in a dtype; kernels of convolutions in the layout that convolutions work in."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, scales: Sequence[Tensor | None], *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.scales = scales
        ctx.save_for_backward(*weights)
        made = [torch.empty_like(w, dtype=dtype, memory_format=_layout(w)) for w in weights]
        _multiply(made, weights, scales)
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        made = [None if g is None else torch.empty_like(w) for g, w in zip(grads, ctx.saved_tensors, strict=True)]
        there = [(m, g, s) for m, g, s in zip(made, grads, ctx.scales, strict=True) if m is not None and g is not None]
        if there:
            _multiply(*zip(*there, strict=True))
        return None, None, *made


def _layout(weight: Tensor) -> torch.memory_format:
    return torch.channels_last if weight.dim() == 4 else torch.preserve_format


def _multiply(made: Sequence[Tensor], tensors: Sequence[Tensor], scales: Sequence[Tensor | None]) -> None:
    """Write tensors, times their scales, into `made`, which may have other dtypes and layouts."""
    alike: tuple[list[Tensor], list[Tensor]] = [], []
    for result, tensor, scale in zip(made, tensors, scales, strict=True):
        if scale is not None:
            torch.mul(tensor, scale, out=result)
        elif result.stride() == tensor.stride():
            alike[0].append(result)
            alike[1].append(tensor)
        else:
            result.copy_(tensor)
    if alike[0]:
        torch._foreach_copy_(*alike)
