"""Deformable attention's C implementation as a differentiable torch function, for contiguous CPU tensors."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idol_core.ops.native import load

SOURCE = Path(__file__).with_name("deform_attn_cpu.c")
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


def available(value: Tensor) -> bool:
    """True where the C code can serve `value`: on the CPU, float32 or float64, and built."""
    return value.device.type == "cpu" and value.dtype in SUFFIX and load(SOURCE) is not None


class DeformableAttentionCPU(torch.autograd.Function):
    """Arguments and result as `deform_attn.deformable_attention`; `shapes` is the int64 tensor [L, 2] of (h, w)."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
        ctx.save_for_backward(value, shapes, locations, weights)
        n, _, heads, dim = value.shape
        output = value.new_empty(n, locations.shape[1], heads * dim)
        _call("msda_forward", value, shapes, locations, weights, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        value, shapes, locations, weights = ctx.saved_tensors
        grad = [torch.zeros_like(value), torch.empty_like(locations), torch.empty_like(weights)]
        _call("msda_backward", value, shapes, locations, weights, grads[0].contiguous(), *grad)
        return grad[0], None, grad[1], grad[2]


def _call(name: str, *tensors: Tensor) -> None:
    value, _, locations = tensors[:3]
    n, s, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    function = getattr(load(SOURCE), f"{name}_{SUFFIX[value.dtype]}")
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    function(*pointers, *(ctypes.c_int64(size) for size in (n, s, heads, dim, levels, queries, points)))
