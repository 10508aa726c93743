"""The Triton kernels on a CUDA device: they agree with grid_sample in float64, and give way to it where they fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from idol_core.ops import deform_attn_torch
from idol_core.ops.deform_attn import deformable_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
FLOAT, BF16, HALF = torch.float32, torch.bfloat16, torch.float16
SHAPES = ((30, 54), (15, 27), (8, 14), (4, 7))
TOLERANCES = {FLOAT: 1e-4, BF16: 2e-2, HALF: 3e-3}


def inputs(value_dtype, weights_dtype=FLOAT, *, dim=32, level_shapes=SHAPES) -> list[torch.Tensor]:
    """Value, locations, weights on the device, for 2 samples, 8 heads, 500 queries, 4 points; some locations outside.

    No location lies near the lines between cells' centres, where gradients jump.
    """
    generator = torch.Generator().manual_seed(0)
    n, queries, heads, points, levels = 2, 500, 8, 4, len(level_shapes)
    sizes = torch.tensor(level_shapes).view(1, 1, 1, levels, 1, 2).flip(-1)
    draws = torch.rand(2, n, queries, heads, levels, points, 2, generator=generator)
    locations = ((draws[0] * (sizes + 4)).floor() - 1.5 + 0.05 + 0.9 * draws[1]) / sizes
    weights = torch.rand(n, queries, heads, levels * points, generator=generator).softmax(-1)
    value = torch.randn(n, sum(h * w for h, w in level_shapes), heads, dim, generator=generator)
    given = value.to(value_dtype), locations, weights.unflatten(-1, (levels, points)).to(weights_dtype)
    return [x.cuda().requires_grad_() for x in given]


def run(sample, given: list[torch.Tensor], level_shapes=SHAPES) -> list[torch.Tensor]:
    """Output and the three gradients."""
    output = sample(given[0], level_shapes, *given[1:])
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    return [output.detach(), *torch.autograd.grad(output, given, grad)]


@pytest.fixture(params=[False, True], ids=["atomic", "deterministic"])
def deterministic(request: pytest.FixtureRequest) -> Iterator[bool]:
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("dtypes", "dim", "level_shapes"),
    [
        ((FLOAT, FLOAT), 32, SHAPES),
        ((BF16, FLOAT), 32, SHAPES),
        ((BF16, BF16), 32, SHAPES),
        ((HALF, FLOAT), 32, SHAPES),
        ((HALF, HALF), 32, SHAPES),
        ((FLOAT, FLOAT), 24, SHAPES[:1]),
        ((BF16, FLOAT), 5, ((9, 5), (1, 1), (3, 8), (7, 7), (2, 3))),
    ],
    ids=str,
)
def test_outputs_and_gradients_agree_with_float64(dtypes, dim, level_shapes, deterministic, capfd) -> None:
    given = inputs(*dtypes, dim=dim, level_shapes=level_shapes)
    found = run(deformable_attention, given, level_shapes)
    exact_inputs = [x.detach().cpu().double().requires_grad_() for x in given]
    exact = run(deform_attn_torch.sample_with_torch, exact_inputs, level_shapes)
    assert "grid_sample is used" not in capfd.readouterr().err
    tolerance = max(TOLERANCES[dtype] for dtype in dtypes)
    for result, expected, like in zip(found, exact, [given[0], *given], strict=True):
        assert result.dtype == like.dtype
        assert (result.cpu().double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [FLOAT, BF16], ids=str)
def test_deterministic_gradients_have_equal_bits_twice(dtype) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        given = inputs(dtype)
        first = run(deformable_attention, given)
        for _ in range(5):
            assert all(torch.equal(a, b) for a, b in zip(first, run(deformable_attention, given), strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_empty_batches_have_empty_outputs_and_zero_gradients() -> None:
    value, locations, weights = inputs(FLOAT)
    output, grad_value, *_ = run(deformable_attention, [value, locations[:, :0], weights[:, :0]])
    assert output.shape == (2, 0, 256)
    assert not grad_value.any()
    assert deformable_attention(value[:0], SHAPES, locations[:0], weights[:0]).shape == (0, 500, 256)


def test_the_operator_keeps_torchs_rules_for_operators() -> None:
    value, locations, weights = inputs(FLOAT)
    shapes = [size for shape in SHAPES for size in shape]
    torch.library.opcheck(
        torch.ops.idol.deformable_attention.default, (value, shapes, locations, weights), rtol=1e-4, atol=1e-4
    )


def test_torch_compile_sees_one_graph_and_gets_the_same_numbers() -> None:
    given = inputs(FLOAT)
    compiled = run(torch.compile(deformable_attention, fullgraph=True), given)
    for found, expected in zip(compiled, run(deformable_attention, given), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_captured_graph_replays_the_kernels_on_new_inputs() -> None:
    given = [x.detach() for x in inputs(BF16)]
    warm = deformable_attention(given[0], SHAPES, *given[1:])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = deformable_attention(given[0], SHAPES, *given[1:])
    graph.replay()
    assert torch.equal(replayed, warm)
    given[0].copy_(torch.randn_like(given[0]))
    graph.replay()
    assert torch.equal(replayed, deformable_attention(given[0], SHAPES, *given[1:]))


SPOILED = """
import torch
from idol_core.ops import deform_attn_kernels as kernels
from idol_core.ops.deform_attn import deformable_attention
from tests.gpu.test_deform_attn import FLOAT, inputs, run
from idol_core.ops.deform_attn_torch import sample_with_torch
right, right_backward = kernels.launch_forward, kernels.launch_backward
kernels.launch_forward = lambda *args: right(*args) * 1.01
kernels.launch_backward = lambda *args, **kw: tuple(1.01 * x for x in right_backward(*args, **kw))
given = inputs(FLOAT)
for _ in range(2):
    for found, expected in zip(run(deformable_attention, given), run(sample_with_torch, given), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
"""


def test_wrong_kernels_are_found_out_once_and_grid_sample_serves() -> None:
    done = subprocess.run([sys.executable, "-c", SPOILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "grid_sample is used instead" in line]
    assert len(lines) == 2  # forward and backward
    assert all("is wrong by 0.01" in line for line in lines)
