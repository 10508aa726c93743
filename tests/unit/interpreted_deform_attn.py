"""The Triton kernels, interpreted on the CPU: `test_deform_attn_triton.py` runs this file with TRITON_INTERPRET=1."""

from __future__ import annotations

import pytest
import torch

from idol_core.ops import deform_attn_kernels, deform_attn_torch, deform_attn_triton
from idol_core.ops.deform_attn_triton import Variant, prove

FLOAT, BF16, HALF = torch.float32, torch.bfloat16, torch.float16
# Shapes of the levels, then N, Q, M, D, P, dtype of value, dtype of weights. The interpreter takes 0.1 s for each point
# of each program, so everything is small.
CASES = {
    "one cell, one channel": (((1, 1),), 1, 3, 1, 1, 1, FLOAT, FLOAT),
    "odd sizes, several samples and heads": (((5, 7),), 2, 7, 3, 3, 2, FLOAT, FLOAT),
    "several blocks of queries": (((2, 3), (1, 2)), 1, 70, 1, 32, 1, FLOAT, FLOAT),
    "three levels, four points": (((4, 3), (2, 2), (1, 1)), 1, 5, 1, 24, 4, FLOAT, FLOAT),
    "five levels": (((3, 2), (2, 3), (1, 4), (2, 1), (1, 1)), 1, 4, 2, 8, 1, FLOAT, FLOAT),
    "bfloat16": (((3, 4), (2, 2)), 1, 6, 2, 16, 1, BF16, FLOAT),
    "float16, weights too": (((3, 4), (2, 2)), 1, 6, 2, 16, 1, HALF, HALF),
}
FORWARD = {FLOAT: 1e-5, BF16: 1e-2, HALF: 1e-3}  # rounding of the result is most of it
GRADIENTS = {FLOAT: 1e-4, BF16: 1e-2, HALF: 1e-3}


def relative_error(found, exact) -> float:
    return float((found.double() - exact.detach()).abs().max() / exact.detach().abs().max())


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_agree_with_float64(case) -> None:
    level_shapes, n, queries, heads, dim, points, value_dtype, weights_dtype = CASES[case]
    torch.manual_seed(0)
    shapes = [size for shape in level_shapes for size in shape]
    value = torch.randn(n, sum(h * w for h, w in level_shapes), heads, dim).to(value_dtype)
    locations = torch.rand(n, queries, heads, len(level_shapes), points, 2) * 1.8 - 0.4  # a good part outside
    weights = torch.randn(n, queries, heads, len(level_shapes), points).to(weights_dtype)
    grad = torch.randn(n, queries, heads * dim).to(value_dtype)

    inputs = [x.double().requires_grad_() for x in (value, locations, weights)]
    expected = deform_attn_torch.sample_with_torch(inputs[0], level_shapes, *inputs[1:])
    gradients = torch.autograd.grad(expected, inputs, grad.double())
    found = deform_attn_kernels.launch_forward(value, shapes, locations, weights)
    assert found.dtype == value_dtype
    assert relative_error(found, expected) < FORWARD[value_dtype]
    for deterministic in (False, True):
        results = deform_attn_kernels.launch_backward(
            grad, value, shapes, locations, weights, deterministic=deterministic
        )
        for result, exact, given in zip(results, gradients, (value, locations, weights), strict=True):
            assert result.dtype == given.dtype
            assert relative_error(result, exact) < GRADIENTS[given.dtype]


def test_locations_that_are_nowhere_sample_zero_and_get_no_gradient() -> None:
    value, weights = torch.randn(1, 6, 1, 4), torch.ones(1, 4, 1, 1, 1)
    far = torch.tensor([float("nan"), float("inf"), -1e30, 1e30])
    locations = torch.stack([far, torch.full_like(far, 0.5)], -1).view(1, 4, 1, 1, 1, 2)
    assert not deform_attn_kernels.launch_forward(value, [2, 3], locations, weights).any()
    for deterministic in (False, True):
        gradients = deform_attn_kernels.launch_backward(
            torch.ones(1, 4, 4), value, [2, 3], locations, weights, deterministic=deterministic
        )
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("n", "queries"), [(0, 5), (2, 0)])
def test_empty_batches_have_empty_outputs_and_zero_gradients(n: int, queries: int) -> None:
    value, locations = torch.randn(n, 6, 2, 4), torch.rand(n, queries, 2, 1, 3, 2)
    weights, grad = torch.rand(n, queries, 2, 1, 3), torch.rand(n, queries, 8)
    assert deform_attn_kernels.launch_forward(value, [2, 3], locations, weights).shape == (n, queries, 8)
    for deterministic in (False, True):
        gradients = deform_attn_kernels.launch_backward(
            grad, value, [2, 3], locations, weights, deterministic=deterministic
        )
        assert [x.shape for x in gradients] == [value.shape, locations.shape, weights.shape]
        assert not gradients[0].any()


def test_kernels_that_are_right_prove_themselves(capsys) -> None:
    for kernel in ("forward", "backward", "deterministic backward"):
        assert prove(Variant(kernel, torch.device("cpu"), FLOAT, FLOAT, heads=1, dim=4, levels=2, points=1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("spoiled", [1.0, 1.001], ids=["right kernels", "wrong kernels"])
def test_wrong_kernels_are_found_out_once_and_grid_sample_serves(spoiled, monkeypatch, capsys) -> None:
    forward, backward = deform_attn_kernels.launch_forward, deform_attn_kernels.launch_backward
    monkeypatch.setattr(deform_attn_kernels, "launch_forward", lambda *args: forward(*args) * spoiled)
    monkeypatch.setattr(
        deform_attn_kernels, "launch_backward", lambda *args, **kw: tuple(x * spoiled for x in backward(*args, **kw))
    )
    monkeypatch.setattr(deform_attn_triton, "_proven", {})
    value, locations, weights = torch.randn(1, 6, 1, 4), torch.rand(1, 3, 1, 1, 1, 2), torch.rand(1, 3, 1, 1, 1)
    inputs = [x.double().requires_grad_() for x in (value, locations, weights)]
    output = deform_attn_torch.sample_with_torch(inputs[0], ((2, 3),), *inputs[1:])
    gradients = torch.autograd.grad(output.sum(), inputs)
    for _ in range(2):
        found = deform_attn_triton.forward(value, [2, 3], locations, weights)
        assert relative_error(found, output) < 1e-5
        results = deform_attn_triton.backward(torch.ones(1, 3, 4), value, [2, 3], locations, weights)
        assert all(relative_error(a, b) < 1e-4 for a, b in zip(results, gradients, strict=True))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (0 if spoiled == 1 else 2)
    assert all("kernel (float32, cpu) is wrong by 0.001 of" in line for line in lines)
    assert all("grid_sample is used instead" in line for line in lines)
