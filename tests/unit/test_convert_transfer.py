"""Weights flow from step 1 to step 2 to step 3; what can't flow is named, and what must not is an error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import StageConfig
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.metadata import to_metadata
from idol_core.model.idol import IDOL
from idol_core.weights import Classes, load_weights, ours_to_published, save_weights, start_from, transfer
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
        with pytest.raises(InvalidInput, match="the weights have 8 classes, the model 5"):
            load_weights(file, STEP3)
        with pytest.raises(InvalidInput, match="the weights have an embedding head, the model has no such head"):
            load_weights(file, STEP1)
    with pytest.raises(Missing):
        load_weights(tmp_path / "absent.pth", STEP2)


def named(path: Path, config, step: int, names: list[str]) -> IDOL:
    """Trained weights of `step` that know these classes, in a file."""
    model = trained(config)
    save_weights(path, model.state_dict(), to_metadata(StageConfig("x", "tiny", step, model=config), names))
    return model


def test_class_heads_of_the_same_names_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "3.safetensors"
    parent, child = named(path, STEP3, 3, list("abcde")), build_model(STEP3)
    for step in (2, 3):
        report = start_from(child, path, Classes(tuple("ebacd"), step))
        before, rows = parent.state_dict(), [4, 1, 0, 2, 3]
        for name, tensor in child.state_dict().items():
            is_head = name.startswith("decoder.class_heads.")
            assert torch.equal(tensor, before[name][rows] if is_head else before[name]), name
        assert "put in the training set's order" in str(report)
    assert "order" not in str(start_from(child, path, Classes(tuple("abcde"), 3)))


def test_classes_of_a_common_name_keep_their_rows_in_the_same_step_and_start_fresh_in_another(tmp_path: Path) -> None:
    path = tmp_path / "2.safetensors"
    parent = named(path, STEP3, 2, list("abcde"))
    heads = [name for name in parent.state_dict() if name.startswith("decoder.class_heads.")]
    for step, by_name in ((2, False), (3, True)):
        child, start = fresh(STEP3)
        report = start_from(child, path, Classes(tuple("cfbda"), step, by_name=by_name))
        for name in heads:
            rows, old = child.state_dict()[name], parent.state_dict()[name]
            assert torch.equal(rows[[0, 2, 3, 4]], old[[2, 1, 3, 0]]), name
            assert torch.equal(rows[1], start[name][1]), name
        assert "class heads kept by name: 'c', 'b', 'd', 'a'; new: 'f'" in str(report)
    child, start = fresh(STEP3)
    report = start_from(child, path, Classes(tuple("bcdef"), 3))
    check_flow(parent, child, start, report, set(heads))
    start_from(child, path, Classes(tuple("bcdef"), 2, {"a": "f"}))
    head = "decoder.class_heads.0.bias"
    assert torch.equal(child.state_dict()[head], parent.state_dict()[head][[1, 2, 3, 4, 0]])


def test_fewer_and_more_classes_keep_what_is_common(tmp_path: Path) -> None:
    path = tmp_path / "3.safetensors"
    parent, head = named(path, STEP3, 3, list("abcde")), "decoder.class_heads.1.weight"
    for names, kept, said in (
        ("ca", {0: 2, 1: 0}, "class heads kept by name for all 2 classes, of 5 in the weights"),
        ("xAbyzwv", {2: 1}, "kept by name: 'b'; new: 'x', 'A', 'y', 'z', 'w', 'v' (--set 'data.classes_map=[a=A]'"),
        ("xyz", {}, "class heads start new for all classes: 'x', 'y', 'z'"),
    ):
        child, start = fresh(dataclasses.replace(STEP3, num_classes=len(names)))
        report = start_from(child, path, Classes(tuple(names), 3))
        rows = child.state_dict()[head]
        for place in range(len(names)):
            old = parent.state_dict()[head][kept[place]] if place in kept else start[head][place]
            assert torch.equal(rows[place], old), (names, place)
        assert said in str(report)


def test_classes_without_names_are_taken_in_order_and_that_is_said(tmp_path: Path) -> None:
    parent, child = trained(STEP3), build_model(STEP3)
    torch.save({"model": ours_to_published(parent.state_dict(), STEP3)}, tmp_path / "theirs.pth")
    report = start_from(child, tmp_path / "theirs.pth", Classes(tuple("abcde"), 3))
    assert "does not name its classes" in str(report)
    assert all(torch.equal(tensor, parent.state_dict()[name]) for name, tensor in child.state_dict().items())
    report = start_from(child, tmp_path / "theirs.pth", Classes(tuple("xbcda"), 3, of_file=tuple("abcde")))
    assert "class heads kept by name: 'b', 'c', 'd', 'a'; new: 'x'" in str(report)
    turned = dict(zip("01234", "edcba", strict=True))
    start_from(child, tmp_path / "theirs.pth", Classes(tuple("abcde"), 3, turned))
    head = "decoder.class_heads.0.bias"
    assert torch.equal(child.state_dict()[head], parent.state_dict()[head].flip(0))
