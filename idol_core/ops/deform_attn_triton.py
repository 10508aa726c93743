"""Deformable attention on CUDA tensors: the Triton kernels where a self-test passes, else grid_sample.

The first call in a process for each device, dtypes and numbers of heads, channels, levels and points runs the same
compiled kernel on a small input and compares it with grid_sample in float64 on the CPU. If it disagrees or doesn't
compile, a line on stderr says so and such calls use grid_sample from then on.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from idol_core.ops import deform_attn_torch
from idol_core.ops.deform_attn_torch import LevelShapes

HAS_TRITON = importlib.util.find_spec("triton") is not None
MAX_LEVELS = 8  # the kernels have that many size arguments
# Largest error accepted in the self-test, relative to the largest expected number.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 3e-3}


class Variant(NamedTuple):
    """A kernel and what it is compiled for; the self-test runs once per variant."""

    kernel: str  # "forward", "backward" or "deterministic backward"
    device: torch.device
    value: torch.dtype
    weights: torch.dtype
    heads: int
    dim: int  # channels of a head
    levels: int
    points: int


_proven: dict[Variant, bool] = {}
_captured_unproven: set[Variant] = set()


def serves(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> bool:
    """True for CUDA tensors that the operator supports; checks dtypes and sizes only, so it can be traced."""
    return (
        HAS_TRITON
        and value.dtype in TOLERANCES
        and weights.dtype in TOLERANCES
        and locations.dtype == torch.float32
        and len(level_shapes) <= MAX_LEVELS
    )


def forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Output [N, Q, M * D] in value's dtype. `shapes`: flat list of (height, width)."""
    with torch.cuda.device_of(value):
        if not _usable("forward", value, locations, weights):
            return deform_attn_torch.forward(value, shapes, locations, weights)
        from idol_core.ops.deform_attn_kernels import launch_forward

        return launch_forward(value, shapes, locations, weights)


def backward(
    grad: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights, each in its input's dtype.

    Under `torch.use_deterministic_algorithms(True)` they are bit-identical on every run (for the cost, see
    `launch_backward`); where grid_sample is used, torch raises an error, as its backward pass is not deterministic.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    kernel = "deterministic backward" if deterministic else "backward"
    with torch.cuda.device_of(value):
        if not _usable(kernel, value, locations, weights):
            return deform_attn_torch.backward(grad, value, shapes, locations, weights)
        from idol_core.ops.deform_attn_kernels import launch_backward

        return launch_backward(grad, value, shapes, locations, weights, deterministic=deterministic)


def _usable(kernel: str, value: Tensor, locations: Tensor, weights: Tensor) -> bool:
    heads, dim = value.shape[2:]
    levels, points = locations.shape[3:5]
    variant = Variant(kernel, value.device, value.dtype, weights.dtype, heads, dim, levels, points)
    if variant not in _proven:
        if value.is_cuda and torch.cuda.is_current_stream_capturing():  # the self-test can't run in a graph
            if variant not in _captured_unproven:
                _captured_unproven.add(variant)
                _warn(variant, "has not run before this CUDA graph was captured: warm up before you capture")
            return False
        _proven[variant] = prove(variant)
    return _proven[variant] and _offsets_fit(value, locations)


def _offsets_fit(value: Tensor, locations: Tensor) -> bool:
    """True if offsets fit 32 bits, which the kernels use for the numbers of value and the corners within a sample."""
    return value[:1].numel() < 2**31 and 2 * locations[:1].numel() < 2**31


def prove(variant: Variant) -> bool:
    """Run the kernel on a small input; True if it agrees with float64 on the CPU. If not, say why on stderr."""
    value, shapes, locations, weights, grad = _small_input(variant)
    exact = [x.double() for x in (value, locations, weights, grad)]
    given = [x.to(variant.device) for x in (value, locations, weights, grad)]
    try:
        from idol_core.ops.deform_attn_kernels import launch_backward, launch_forward

        found: Iterable[Tensor]
        if variant.kernel == "forward":
            expected = [deform_attn_torch.forward(exact[0], shapes, *exact[1:3])]
            found = [launch_forward(given[0], shapes, *given[1:3])]
        else:
            expected = list(deform_attn_torch.backward(exact[3], exact[0], shapes, *exact[1:3]))
            deterministic = variant.kernel == "deterministic backward"
            found = launch_backward(given[3], given[0], shapes, *given[1:3], deterministic=deterministic)
        errors = [_error(a.cpu(), b) for a, b in zip(found, expected, strict=True)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton's compiler, C compiler and driver all raise different types
        _warn(variant, f"does not run ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})")
        return False
    agree = all(error <= max(TOLERANCES[x.dtype] for x in (value, weights)) for error in errors)  # False for NaN
    if not agree:
        _warn(variant, f"is wrong by {max(errors):.2g} of the largest number")
    return agree


def _small_input(variant: Variant) -> tuple[Tensor, list[int], Tensor, Tensor, Tensor]:
    """Make value, shapes, locations, weights and incoming gradient, on the CPU; equal for equal variants.

    Locations lie up to two cells outside of each map, but not near the lines between cells' centres: the gradient jumps
    there, and float32 and float64 might end on different sides.
    """
    generator = torch.Generator().manual_seed(0)
    n, queries, (heads, dim, levels, points) = 2, 37, variant[4:]
    shapes = [size for level in range(levels) for size in (5 + level, 7 - level % 3)]
    cells = sum(h * w for h, w in deform_attn_torch.pairs(shapes))

    def draw(*size: int) -> Tensor:
        return torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")

    sizes = torch.tensor(shapes, device="cpu").view(1, 1, 1, levels, 1, 2).flip(-1)  # (width, height)
    places = draw(2, n, queries, heads, levels, points, 2)
    locations = ((places[0] * (sizes + 4)).floor() - 2 + 0.1 + 0.8 * places[1] + 0.5) / sizes
    weights = draw(n, queries, heads, levels, points).to(variant.weights)
    value = (draw(n, cells, heads, dim) - 0.5).to(variant.value)
    grad = (draw(n, queries, heads * dim) - 0.5).to(variant.value)
    return value, shapes, locations, weights, grad


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


def _warn(variant: Variant, what: str) -> None:
    name = f"deformable attention's {variant.kernel} kernel ({str(variant.value)[6:]}, {variant.device})"
    print(f"warning: {name} {what}; grid_sample is used instead, which is slower", file=sys.stderr, flush=True)
