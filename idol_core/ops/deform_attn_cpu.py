"""Deformable attention's C implementation: forward and gradients, for tensors on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from idol_core.ops.native import load

SOURCE = Path(__file__).with_name("deform_attn_cpu.c")
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


def available(locations: Tensor) -> bool:
    """True if the C code is built and supports the dtype of `locations` (float32 or float64)."""
    return locations.dtype in SUFFIX and load(SOURCE) is not None


def forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Output [N, Q, M * D] in value's dtype, computed in the locations'. `shapes`: flat list of (height, width)."""
    inputs = _inputs(value, shapes, locations, weights)
    n, _, heads, dim = value.shape
    output = inputs[0].new_empty(n, locations.shape[1], heads * dim)
    _call("msda_forward", *inputs, output)
    return output.to(value.dtype)


def backward(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights, each in its input's dtype; `grad`: of the output [N, Q, M * D]."""
    inputs = _inputs(value, shapes, locations, weights)
    by_value, by_locations, by_weights = (torch.zeros_like(inputs[0]), *map(torch.empty_like, inputs[2:]))
    incoming = grad.to(locations.dtype).contiguous()
    _call("msda_backward", *inputs, incoming, by_value, by_locations, by_weights)
    return by_value.to(value.dtype), by_locations, by_weights.to(weights.dtype)


def _inputs(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Prepare inputs for the C code: contiguous, of the locations' dtype; shapes as int64 [L, 2]."""
    dtype = locations.dtype
    return (
        value.to(dtype).contiguous(),
        torch.tensor(shapes, dtype=torch.int64, device="cpu"),
        locations.contiguous(),
        weights.to(dtype).contiguous(),
    )


def _call(name: str, *tensors: Tensor) -> None:
    value, _, locations = tensors[:3]
    n, s, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    function = getattr(load(SOURCE), f"{name}_{SUFFIX[value.dtype]}")
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    function(*pointers, *(ctypes.c_int64(size) for size in (n, s, heads, dim, levels, queries, points)))
