"""The C code for deformable attention agrees with torch's operators, and leaves the process as it was."""

from __future__ import annotations

import pytest
import torch

from idol_core.ops import deform_attn
from idol_core.ops.deform_attn_cpu import available

SHAPES = ((5, 7), (3, 2), (1, 1))


@pytest.mark.parametrize("channels", [3, 8, 16, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_chosen_and_plain_implementation_agree(channels: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    n, heads, queries, points = 2, 3, 11, 4
    cells = sum(h * w for h, w in SHAPES)
    inputs = [
        torch.randn(n, cells, heads, channels, dtype=dtype),
        torch.rand(n, queries, heads, len(SHAPES), points, 2, dtype=dtype) * 1.6 - 0.3,  # a good part outside
        torch.randn(n, queries, heads, len(SHAPES), points, dtype=dtype),
    ]
    incoming = torch.randn(n, queries, heads * channels, dtype=dtype)
    results = []
    for sample in (deform_attn.deformable_attention, deform_attn.sample_with_torch):
        value, locations, weights = (x.clone().requires_grad_() for x in inputs)
        output = sample(value, SHAPES, locations, weights)
        output.backward(incoming)
        results.append((output.detach(), value.grad, locations.grad, weights.grad))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    for chosen, plain in zip(*results, strict=True):
        torch.testing.assert_close(chosen, plain, atol=tolerance, rtol=tolerance)


def test_half_precision_values_are_sampled_in_the_locations_precision() -> None:
    value = torch.randn(1, 42, 2, 8).bfloat16()
    locations, weights = torch.rand(1, 3, 2, 3, 4, 2), torch.rand(1, 3, 2, 3, 4).bfloat16()
    found = deform_attn.deformable_attention(value, SHAPES, locations, weights)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, deform_attn.sample_with_torch(value.float(), SHAPES, locations, weights.float()))


def test_denormal_numbers_survive_the_library() -> None:
    available(torch.zeros(1))  # loads it, where there is a compiler
    assert float(torch.tensor([1e-40]) * 1) > 0
