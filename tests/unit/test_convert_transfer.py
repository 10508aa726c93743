"""Weights flow from step 1 to step 2 to step 3; what can't flow is named, and what must not is an error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from idol_core.build import build_model
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.model.idol import IDOL
from idol_core.weights import load_weights, ours_to_published, save_weights, start_from, transfer
from tests.unit.tiny import RESNET, SWIN, tiny_config

STEP1, STEP2, STEP3 = (
    tiny_config(embedding=False, num_classes=8),
    tiny_config(num_classes=8),
    tiny_config(num_classes=5),
)


def trained(config) -> IDOL:
    """A model none of whose tensors has the value that initialisation gives it."""
    model = build_model(config)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.randn_like(tensor))
    return model


def check_flow(parent: IDOL, child: IDOL, start: dict, report, reinitialised: set[str]) -> None:
    """Key by key: equal to the parent's, or as the fresh child had it; and the report says so."""
    before = parent.state_dict()
    for name, tensor in child.state_dict().items():
        assert torch.equal(tensor, start[name] if name in reinitialised else before[name]), name
    assert set(report.reinitialised) == reinitialised
    assert set(report.transferred) == set(start) - reinitialised


def fresh(config) -> tuple[IDOL, dict]:
    model = build_model(config)
    return model, {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("backbone", [RESNET, SWIN], ids=["resnet", "swin"])
def test_step_1_to_2_to_3_key_by_key(backbone, tmp_path: Path) -> None:
    first = trained(dataclasses.replace(STEP1, backbone=backbone))
    second, start = fresh(dataclasses.replace(STEP2, backbone=backbone))
    embed_head = {name for name in start if name.startswith("embed_head.")}
    assert set(start) - set(first.state_dict()) == embed_head != set()
    save_weights(tmp_path / "1.safetensors", first.state_dict(), {})
    report = start_from(second, tmp_path / "1.safetensors")
    check_flow(first, second, start, report, embed_head)

    second = trained(dataclasses.replace(STEP2, backbone=backbone))
    third, start = fresh(dataclasses.replace(STEP3, backbone=backbone))
    class_heads = {name for name in start if name.startswith("decoder.class_heads.")}
    save_weights(tmp_path / "2.safetensors", second.state_dict(), {})
    report = start_from(third, tmp_path / "2.safetensors")
    check_flow(second, third, start, report, class_heads)
    assert "re-initialised decoder.class_heads (4)" in str(report)


def test_step_1_to_3_starts_both_heads_fresh() -> None:
    first, (third, start) = trained(STEP1), fresh(STEP3)
    heads = {name for name in start if name.startswith(("embed_head.", "decoder.class_heads."))}
    check_flow(first, third, start, transfer(third, first.state_dict()), heads)


def test_published_weights_of_80_classes_start_a_step_3(tmp_path: Path) -> None:
    second, (third, start) = trained(STEP2), fresh(STEP3)
    torch.save({"model": ours_to_published(second.state_dict(), STEP2)}, tmp_path / "published.pth")
    report = start_from(third, tmp_path / "published.pth")
    check_flow(second, third, start, report, {name for name in start if name.startswith("decoder.class_heads.")})


def test_equal_class_counts_transfer_everything() -> None:
    parent, (child, start) = trained(STEP2), fresh(STEP2)
    check_flow(parent, child, start, transfer(child, parent.state_dict()), set())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("mask_head.reduce.bias"), r"mask_head\.reduce\.bias.* missing"),
        (lambda s: s.pop("embed_head.layers.0.bias"), r"embed_head\.layers\.0\.bias.* missing"),
        (lambda s: s.pop("decoder.class_heads.1.bias"), r"decoder\.class_heads\.1\.bias.* missing"),
        (lambda s: s.update({"mask_head.more": torch.zeros(1)}), r"mask_head\.more.* unexpected"),
        (lambda s: s.update({"mask_head.reduce.bias": torch.zeros(3)}), r"mask_head\.reduce\.bias has shape \[3\]"),
        (lambda s: s.update({"decoder.class_heads.0.weight": torch.zeros(8, 3)}), r"class_heads\.0\.weight has shape"),
    ],
)
def test_anything_else_is_an_error_and_changes_nothing(spoil, message: str) -> None:
    state, (child, start) = trained(STEP2).state_dict(), fresh(STEP3)
    spoil(state)
    with pytest.raises(Integrity, match=message):
        transfer(child, state)
    assert all(torch.equal(tensor, start[name]) for name, tensor in child.state_dict().items())


def test_an_embedding_head_does_not_flow_back_into_step_1() -> None:
    with pytest.raises(Integrity, match=r"embed_head.* unexpected"):
        transfer(build_model(STEP1), trained(STEP2).state_dict())


def test_another_backbone_is_named() -> None:
    deeper = dataclasses.replace(STEP2, backbone=dataclasses.replace(RESNET, blocks=(1, 2, 1, 1)))
    with pytest.raises(
        InvalidInput, match=r"weights have a ResNet \(blocks \(1, 2, 1, 1\).*the model a ResNet \(blocks \(1, 1"
    ):
        transfer(build_model(STEP3), trained(deeper).state_dict())
    with pytest.raises(InvalidInput, match=r"weights have a Swin .*, the model a ResNet"):
        transfer(build_model(STEP3), trained(dataclasses.replace(STEP2, backbone=SWIN)).state_dict())


def test_whole_models_load_strictly(tmp_path: Path) -> None:
    parent, path = trained(STEP2), tmp_path / "weights.safetensors"
    save_weights(path, parent.state_dict(), {})
    torch.save({"model": ours_to_published(parent.state_dict(), STEP2)}, tmp_path / "weights.pth")
    for file in (path, tmp_path / "weights.pth"):
        state = load_weights(file, STEP2)
        assert state.keys() == parent.state_dict().keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in parent.state_dict().items())
        with pytest.raises(InvalidInput, match="the weights know 8 classes, the model 5"):
            load_weights(file, STEP3)
        with pytest.raises(InvalidInput, match="the weights have an embedding head, the model has no such head"):
            load_weights(file, STEP1)
    with pytest.raises(Missing):
        load_weights(tmp_path / "absent.pth", STEP2)
