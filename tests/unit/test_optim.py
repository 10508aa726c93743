"""Learning rates by iteration, parameter groups, clipping."""

import itertools

import pytest
import torch
from torch import nn

from idol_core.build import build_model
from idol_core.config import ModelConfig, ResNetConfig, SolverConfig
from idol_core.engine.optim import clip_gradients, lr_factor, make_optimizers, set_lr


def test_step_schedule_with_the_published_no_op_warm_up():
    solver = SolverConfig(iterations=100, milestones=(50, 80), gamma=0.1, warmup_iterations=10, warmup_factor=1.0)
    assert [lr_factor(i, solver) for i in (0, 5, 49)] == [1.0, 1.0, 1.0]
    assert lr_factor(50, solver) == pytest.approx(0.1)
    assert lr_factor(99, solver) == pytest.approx(0.01)


def test_linear_warm_up():
    solver = SolverConfig(warmup_iterations=10, warmup_factor=0.1)
    assert lr_factor(0, solver) == pytest.approx(0.1)
    assert lr_factor(5, solver) == pytest.approx(0.55)
    assert lr_factor(10, solver) == 1.0


def test_cosine_falls_to_zero():
    solver = SolverConfig(iterations=100, schedule="cosine", warmup_iterations=0)
    factors = [lr_factor(i, solver) for i in range(101)]
    assert factors[0] == 1.0
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(factors))


def test_backbone_group_learns_slower_and_frozen_parameters_stay_out():
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    model["backbone"].bias.requires_grad_(False)
    solver = SolverConfig(lr=1e-3, backbone_lr_factor=0.1, iterations=10, milestones=(5,))
    (optimizer,) = make_optimizers(model, solver)
    assert set_lr([optimizer], 7, solver) == pytest.approx(1e-4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-4, 1e-5])
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {solver.weight_decay}


def test_what_was_pretrained_learns_slower_than_the_class_heads():
    model = build_model(ModelConfig(ResNetConfig(blocks=(1, 1, 1, 1)), hidden_dim=32, heads=2, queries=10))
    names = {parameter: name for name, parameter in model.named_parameters()}
    solver = SolverConfig(optimizer="muon", lr=1e-3, backbone_lr_factor=0.1, pretrained_lr_factor=0.2)
    optimizers = make_optimizers(model, solver)
    assert set_lr(optimizers, 0, solver) == 1e-3
    rates = {names[p]: group["lr"] for o in optimizers for group in o.param_groups for p in group["params"]}
    assert len(rates) == sum(p.requires_grad for p in model.parameters())
    for name, rate in rates.items():
        factor = 1.0 if "class_heads" in name else 0.02 if name.startswith("backbone.") else 0.2
        assert rate == pytest.approx(1e-3 * factor), name


def test_muon_moves_the_hidden_weights_and_adamw_the_rest():
    model = build_model(ModelConfig(ResNetConfig(blocks=(1, 1, 1, 1), freeze_at=1), hidden_dim=32, heads=2, queries=10))
    solver = SolverConfig(optimizer="muon", lr=1e-3, backbone_lr_factor=0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    adamw, muon = (
        [{names[p] for p in group["params"]} for group in optimizer.param_groups]
        for optimizer in make_optimizers(model, solver)
    )
    assert sum(map(len, adamw + muon)) == sum(p.requires_grad for p in model.parameters())
    assert "backbone.res2.0.conv2.weight" in muon[1]
    assert "backbone.stem.weight" not in muon[1] | adamw[1]
    assert {"decoder.layers.0.self_attention.qkv.weight", "mask_head.conv8.weight"} <= muon[0]
    for name in ("decoder.query_embedding", "decoder.class_heads.0.weight", "decoder.box_heads.0.layers.2.weight"):
        assert name in adamw[0]
    assert all(name.endswith(".weight") and "norm" not in name for group in muon for name in group)


def test_clipping_scales_the_joint_norm():
    model = nn.Linear(2, 1)
    (model(torch.tensor([3.0, 4.0])) * 2).sum().backward()
    before = clip_gradients(model, 0.01)
    assert before.item() == pytest.approx((4 * (9 + 16 + 1)) ** 0.5, rel=1e-5)
    after = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert after.item() == pytest.approx(0.01, rel=1e-3)
