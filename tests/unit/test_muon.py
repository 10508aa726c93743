"""Muon: orthogonal steps, convolutions as matrices, state that survives saving."""

import copy

import pytest
import torch
from torch import nn

from idol_core.engine.muon import SCALE, Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 40), (2, 40, 8)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    again = u.mT @ orthogonal([matrices])[0] @ v.mT
    assert torch.allclose(again, torch.diag_embed(again.diagonal(dim1=1, dim2=2)), atol=1e-9)
    large = values > 0.02 * values[:, :1]
    assert again.diagonal(dim1=1, dim2=2)[large].aminmax() == pytest.approx((1.0, 1.0), abs=0.33)


def test_small_singular_values_stay_small_in_single_precision():
    values = torch.tensor([1.0, 0.5, 0.002, 1e-4, 0.0])
    u, v = (torch.linalg.qr(torch.randn(n, 5, generator=torch.Generator().manual_seed(n)))[0] for n in (5, 9))
    found = (u.mT @ orthogonal([(u * values @ v.mT)[None]])[0][0] @ v).diagonal()
    assert found[:3] == pytest.approx([1.0] * 3, abs=0.4)
    assert found[3:].abs().max() < 0.1


def test_a_matrix_is_orthogonalized_alike_alone_and_in_a_stack():
    stacks = [torch.randn(n, r, c, dtype=torch.float64) for n, r, c in ((2, 8, 12), (3, 12, 8), (1, 8, 8), (2, 4, 8))]
    for stack, together in zip(stacks, orthogonal(stacks), strict=True):
        assert torch.allclose(torch.cat([orthogonal([matrix[None]])[0] for matrix in stack]), together)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_no_step_is_large_however_small_or_flat_the_momentum(rank):
    generator = torch.Generator().manual_seed(rank)
    flat = torch.randn(16, rank, generator=generator) @ torch.randn(rank, 40, generator=generator)
    for power in range(0, -46, -1):  # down to a float's denormal numbers
        assert torch.linalg.matrix_norm(orthogonal([flat[None] * 10.0**power])[0], 2) < 1.4, power


def test_a_gradient_of_zeros_moves_nothing():
    assert not orthogonal([torch.zeros(2, 4, 8)])[0].any()


def test_steps_have_one_size_whatever_the_gradient_s():
    layers = [nn.Linear(32, 64, bias=False) for _ in range(2)]
    layers[1].weight.data.copy_(layers[0].weight)
    start, grad = layers[0].weight.detach().clone(), torch.randn(64, 32)
    for layer, scale in zip(layers, (1.0, 1e-4), strict=True):
        layer.weight.grad = grad * scale
        Muon(layer.parameters(), lr=0.01, weight_decay=0.0).step()
    steps = [layer.weight.detach() - start for layer in layers]
    assert torch.allclose(steps[0], steps[1], atol=1e-6)
    assert steps[0].square().mean().sqrt() == pytest.approx(0.01 * SCALE, rel=0.3)
    assert (steps[0] * grad).sum() < 0


def test_a_convolution_moves_as_the_matrix_of_its_filters():
    convolution, linear = nn.Conv2d(4, 8, 3, bias=False), nn.Linear(36, 8, bias=False)
    linear.weight.data.copy_(convolution.weight.flatten(1))
    for module in (convolution, linear):
        optimizer = Muon(module.parameters(), lr=0.1, weight_decay=0.1)
        for seed in range(3):
            module.weight.grad = torch.randn(8, 36, generator=torch.Generator().manual_seed(seed)).view_as(
                module.weight
            )
            optimizer.step()
    assert torch.allclose(convolution.weight.flatten(1), linear.weight, atol=1e-6)


def test_a_restored_optimizer_goes_on_as_if_never_stopped():
    layer = nn.Linear(8, 8)
    optimizer = Muon([layer.weight], lr=0.1, weight_decay=0.01)
    layer.weight.grad = torch.randn(8, 8)
    optimizer.step()
    other = copy.deepcopy(layer)
    restored = Muon([other.weight], lr=0.1, weight_decay=0.01)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for module, each in ((layer, optimizer), (other, restored)):
        module.weight.grad = torch.ones(8, 8)
        each.step()
    assert torch.equal(layer.weight, other.weight)
