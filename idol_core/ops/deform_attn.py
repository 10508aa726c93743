"""The sampling core of multi-scale deformable attention (Zhu et al. 2021, equation 3), as one torch operator.

`torch.ops.idol.deformable_attention` has an implementation for CPU tensors (C code) and one for CUDA tensors (Triton);
where these can't be built, both fall back to grid_sample. Being an operator, it saves only its inputs for the backward
pass, never the samples, and torch.compile sees one node, whatever the implementation. Autocast does not cast its
inputs: it always computes in the locations' precision. Under torch.export it is traced as gathers instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from idol_core.ops import deform_attn_cpu, deform_attn_torch, deform_attn_triton
from idol_core.ops.constants import exporting
from idol_core.ops.deform_attn_gather import sample_with_gathers
from idol_core.ops.deform_attn_torch import LevelShapes, sample_with_torch

__all__ = ["LevelShapes", "deformable_attention", "sample_with_torch"]

FORWARD, BACKWARD = "idol::deformable_attention", "idol::deformable_attention_backward"


def deformable_attention(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples of several feature maps.

    Args:
        value: [N, S, M, D], M heads; the maps of all levels concatenated along S, each row-major.
        level_shapes: (height, width) of every level; sum of height * width is S.
        locations: [N, Q, M, L, P, 2] float32 or float64 (x, y), 0..1 across a level; the centre of column j lies at
            (j + .5) / width. Values outside of the map are zero.
        weights: [N, Q, M, L, P].

    Returns:
        [N, Q, M * D] in value's dtype, computed in the locations' precision. Differentiable once.
    """
    if exporting():
        return sample_with_gathers(value, level_shapes, locations, weights)
    device = value.device.type
    if device == "cpu" or (device == "cuda" and deform_attn_triton.serves(value, level_shapes, locations, weights)):
        shapes = [size for shape in level_shapes for size in shape]
        return torch.ops.idol.deformable_attention(value, shapes, locations, weights)
    dtype = locations.dtype
    return sample_with_torch(value.to(dtype), level_shapes, locations, weights.to(dtype)).to(value.dtype)


def _cpu_forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    implementation = deform_attn_cpu if deform_attn_cpu.available(locations) else deform_attn_torch
    return implementation.forward(value, shapes, locations, weights)


def _cpu_backward(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    implementation = deform_attn_cpu if deform_attn_cpu.available(locations) else deform_attn_torch
    return implementation.backward(grad, value, shapes, locations, weights)


def _fake_forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


def _fake_backward(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    value, locations, weights = ctx.saved_tensors
    gradients = torch.ops.idol.deformable_attention_backward(grad, value, ctx.shapes, locations, weights)
    return gradients[0], None, gradients[1], gradients[2]


def _not_twice(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError("deformable attention can be differentiated once, not twice")


def _register() -> None:
    inputs = "Tensor value, SymInt[] shapes, Tensor locations, Tensor weights"
    tags = (torch.Tag.pt2_compliant_tag,)
    torch.library.define(FORWARD, f"({inputs}) -> Tensor", tags=tags)
    torch.library.define(BACKWARD, f"(Tensor grad, {inputs}) -> (Tensor, Tensor, Tensor)", tags=tags)
    torch.library.impl(FORWARD, "cpu", _cpu_forward)
    torch.library.impl(BACKWARD, "cpu", _cpu_backward)
    torch.library.impl(FORWARD, "cuda", deform_attn_triton.forward)
    torch.library.impl(BACKWARD, "cuda", deform_attn_triton.backward)
    torch.library.register_fake(FORWARD, _fake_forward)
    torch.library.register_fake(BACKWARD, _fake_backward)
    torch.library.register_autograd(FORWARD, _differentiate, setup_context=_keep)
    torch.library.register_autograd(BACKWARD, _not_twice)


_register()
