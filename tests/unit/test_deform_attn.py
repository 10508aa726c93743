"""The C code for deformable attention agrees with torch's operators, and leaves the process as it was."""

from __future__ import annotations

import pytest
import torch

from idol_core.ops import deform_attn, deform_attn_torch
from idol_core.ops.deform_attn_cpu import available
from idol_core.ops.deform_attn_gather import sample_with_gathers

SHAPES = ((5, 7), (3, 2), (1, 1))


def inputs(channels: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Value, locations and weights."""
    torch.manual_seed(0)
    n, heads, queries, points = 2, 3, 11, 4
    cells = sum(h * w for h, w in SHAPES)
    return (
        torch.randn(n, cells, heads, channels, dtype=dtype),
        torch.rand(n, queries, heads, len(SHAPES), points, 2, dtype=dtype) * 1.6 - 0.3,  # a good part outside
        torch.randn(n, queries, heads, len(SHAPES), points, dtype=dtype),
    )


@pytest.mark.parametrize("channels", [3, 8, 16, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_chosen_and_plain_implementation_agree(channels: int, dtype: torch.dtype) -> None:
    incoming = torch.randn(2, 11, 3 * channels, dtype=dtype)
    results = []
    for sample in (deform_attn.deformable_attention, deform_attn.sample_with_torch):
        value, locations, weights = (x.requires_grad_() for x in inputs(channels, dtype))
        output = sample(value, SHAPES, locations, weights)
        output.backward(incoming)
        results.append((output.detach(), value.grad, locations.grad, weights.grad))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    for chosen, plain in zip(*results, strict=True):
        torch.testing.assert_close(chosen, plain, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_gathers_fetch_the_same_samples(spread: float) -> None:
    value, locations, weights = inputs(8, torch.float64)
    locations = (locations - 0.5) * spread + 0.5
    found = sample_with_gathers(value, SHAPES, locations, weights)
    expected = deform_attn.sample_with_torch(value, SHAPES, locations, weights)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_half_precision_values_are_sampled_in_the_locations_precision() -> None:
    value = torch.randn(1, 42, 2, 8).bfloat16()
    locations, weights = torch.rand(1, 3, 2, 3, 4, 2), torch.rand(1, 3, 2, 3, 4).bfloat16()
    found = deform_attn.deformable_attention(value, SHAPES, locations, weights)
    exact = deform_attn.sample_with_torch(value.double(), SHAPES, locations.double(), weights.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, exact.bfloat16())  # rounded once, at the end


def test_autocast_leaves_the_operator_its_precision() -> None:
    value, locations, weights = inputs(8, torch.float32)
    outside = deform_attn.deformable_attention(value, SHAPES, locations, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = deform_attn.deformable_attention(value, SHAPES, locations, weights)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_the_operator_keeps_torchs_rules_for_operators() -> None:
    value, locations, weights = (x.requires_grad_() for x in inputs(8, torch.float32))
    shapes = [size for shape in SHAPES for size in shape]
    torch.library.opcheck(torch.ops.idol.deformable_attention.default, (value, shapes, locations, weights))


def test_torch_compile_sees_one_graph_and_gets_the_same_bits() -> None:
    results = []
    for sample in (
        deform_attn.deformable_attention,
        torch.compile(deform_attn.deformable_attention, fullgraph=True, backend="aot_eager"),
    ):
        given = [x.requires_grad_() for x in inputs(8, torch.float32)]
        output = sample(given[0], SHAPES, *given[1:])
        results.append((output, *torch.autograd.grad(output.sum(), given)))
    assert all(torch.equal(eager, compiled) for eager, compiled in zip(*results, strict=True))


def test_the_backward_pass_keeps_the_inputs_alone() -> None:
    given = [x.requires_grad_() for x in inputs(8, torch.float32)]
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        deform_attn.deformable_attention(given[0], SHAPES, *given[1:])
    assert {x.data_ptr() for x in kept} == {x.data_ptr() for x in given}


def test_a_second_differentiation_is_refused() -> None:
    given = [x.requires_grad_() for x in inputs(8, torch.float64)]
    output = deform_attn.deformable_attention(given[0], SHAPES, *given[1:])
    gradients = torch.autograd.grad(output.square().sum(), given, create_graph=True)
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(gradients[1].sum(), given)


def test_gradients_without_autograd_are_autograds() -> None:
    given = [x.requires_grad_() for x in inputs(8, torch.float64)]
    output = deform_attn.sample_with_torch(given[0], SHAPES, *given[1:])
    grad = torch.randn_like(output)
    shapes = [size for shape in SHAPES for size in shape]
    found = deform_attn_torch.backward(grad, given[0].detach(), shapes, *(x.detach() for x in given[1:]))
    for gradient, expected in zip(found, torch.autograd.grad(output, given, grad), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("n", "queries"), [(0, 5), (2, 0)])
def test_empty_batches_have_empty_outputs_and_zero_gradients(n: int, queries: int) -> None:
    value = torch.randn(n, 42, 2, 4, requires_grad=True)
    locations, weights = torch.rand(n, queries, 2, 3, 4, 2), torch.rand(n, queries, 2, 3, 4)
    output = deform_attn.deformable_attention(value, SHAPES, locations, weights)
    assert output.shape == (n, queries, 8)
    output.sum().backward()
    assert value.grad is not None
    assert value.grad.shape == value.shape
    assert not value.grad.any()


def test_denormal_numbers_survive_the_library() -> None:
    available(torch.zeros(1))  # loads it, where there is a compiler
    assert float(torch.tensor([1e-40]) * 1) > 0
