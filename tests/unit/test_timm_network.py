"""Backbones of timm and of other packages: features, published weights, there and back through a weights file."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from idol_core.backbones.timm_network import TimmNetwork, load_timm, pixel_remark, timm_network
from idol_core.build import build_model
from idol_core.config import PluginConfig, StageConfig, TimmConfig
from idol_core.errors import Integrity, InvalidInput
from idol_core.inference.pretrained import open_pretrained
from idol_core.metadata import to_metadata
from idol_core.weights import save_weights, start_from
from tests.unit.tiny import tiny_config

timm = pytest.importorskip("timm", reason="timm is not installed")
IMAGES = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", ["convnext_atto", "resnet10t", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224"]
)
def test_features_have_strides_8_16_32_and_the_promised_channels(name: str) -> None:
    network = timm_network(name).eval()
    shapes = [tuple(each.shape[1:]) for each in network(IMAGES)]
    assert shapes == [(c, 64 // s, 96 // s) for c, s in zip(network.channels, (8, 16, 32), strict=True)]


def test_a_vision_transformer_gets_a_pyramid_of_its_last_layer() -> None:
    network = timm_network("vit_tiny_patch16_224").eval()
    fine, middle, coarse = network(IMAGES)
    assert [tuple(each.shape[1:]) for each in (fine, middle, coarse)] == [(96, 8, 12), (192, 4, 6), (192, 2, 3)]
    assert torch.equal(coarse, torch.nn.functional.max_pool2d(middle, 2))


def test_batch_norms_do_not_follow_the_training_data() -> None:
    network = timm_network("resnet10t").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(IMAGES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t"])
def test_weights_as_timm_publishes_them_give_timms_features(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name).eval()
    for tensor in whole.state_dict().values():
        tensor += 1 if tensor.dtype == torch.int64 else 0.01  # also the statistics of batch norms
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    model = build_model(tiny_config(backbone=TimmConfig(name=name))).eval()
    found = start_from(model, tmp_path / "weights.pth")
    assert set(found.transferred) == {n for n in model.state_dict() if n.startswith("backbone.")}
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(IMAGES)[-1], whole.forward_features(IMAGES))


def test_other_or_incomplete_weights_are_refused() -> None:
    state = timm.create_model("convnext_atto").state_dict()
    with pytest.raises(Integrity, match="not timm's weights of resnet10t"):
        load_timm(timm_network("resnet10t"), state, where="file")
    del state["stages.1.blocks.0.mlp.fc1.weight"]
    with pytest.raises(Integrity, match=r"not timm's weights of convnext_atto.*stages\.1\.blocks\.0\.mlp\.fc1\.weight"):
        load_timm(timm_network("convnext_atto"), state, where="file")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tinny", "timm has no network 'convnext_tinny'"),
        ("hf_hub:someone/something", "timm has no network 'hf_hub:someone/something'"),  # would be downloaded
        ("local-dir:/etc", "timm has no network"),
        ("vit_tiny_patch16_224.augreg_in21k", None),  # a tag names weights, which are not downloaded
        ("vit_small_patch14_dinov2", "features of stride 14"),
    ],
)
def test_only_networks_of_timm_with_fitting_strides_are_built(name: str, message: str | None) -> None:
    if message is None:
        assert isinstance(timm_network(name), TimmNetwork)
        return
    with pytest.raises(InvalidInput, match=message):
        timm_network(name)


def test_a_model_comes_back_from_its_weights_file(tmp_path: Path) -> None:
    config = tiny_config(backbone=TimmConfig(name="resnet10t"))
    stage = StageConfig(recipe="mine", backbone="resnet10t", step=3, model=config)
    model = build_model(config)
    classes = [f"class {i}" for i in range(config.num_classes)]
    save_weights(tmp_path / "weights.safetensors", model.state_dict(), to_metadata(stage, classes))
    again, recipe, names = open_pretrained(tmp_path / "weights.safetensors")
    assert recipe is not None
    assert recipe.model.backbone == config.backbone
    assert names == tuple(classes)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


def test_the_whole_backbone_can_be_frozen_but_no_stage_that_is_not_known() -> None:
    config = tiny_config(backbone=TimmConfig(name="resnet10t"))
    model = build_model(dataclasses.replace(config, freeze=("backbone",)))
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert all(parameter.requires_grad for parameter in model.encoder.parameters())
    with pytest.raises(InvalidInput, match="stage1"):
        build_model(dataclasses.replace(config, freeze=("stage1",)))


def test_pixels_of_another_scale_than_the_weights_are_named() -> None:
    published = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    assert pixel_remark("convnext_tiny", *published) == ""
    assert "--set input.pixel_mean=[127.5,127.5,127.5]" in pixel_remark("vit_tiny_patch16_224", *published)


PLUGIN = """
import torch
class Strided(torch.nn.Module):
    channels = (4, 8, 8)
    def __init__(self):
        super().__init__()
        self.convs = torch.nn.ModuleList([torch.nn.Conv2d(3, c, s, s) for c, s in zip(self.channels, (8, 16, 32))])
    def forward(self, images):
        return [conv(images) for conv in self.convs]
def wrong():
    return torch.nn.Linear(1, 1)
"""


def test_an_installed_package_can_offer_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_package.py").write_text(PLUGIN)
    info = tmp_path / "some_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[idolctl.backbones]\nstrided = some_package:Strided\nwrong = some_package:wrong\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = build_model(tiny_config(backbone=PluginConfig(name="strided")))
    assert type(model.backbone).__name__ == "Strided"
    assert [each.shape[1] for each in model.backbone(IMAGES)] == [4, 8, 8]
    for name, message in (("wrong", "gives no module"), ("strideed", "no installed package offers .*'strideed'")):
        with pytest.raises(InvalidInput, match=message):
            build_model(tiny_config(backbone=PluginConfig(name=name)))
    sys.modules.pop("some_package", None)
