"""Backbones of timm and of other packages: features, published weights, there and back through a weights file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

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


# Stages of EfficientNet-Lite0: kernel, stride, expansion, channels, blocks (Tan and Le 2019, table 1)
LITE0 = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
         (3, 1, 6, 320, 1))  # fmt: skip


def lite0_blocks() -> Iterator[tuple[int, int, int, int, int]]:
    """Kernel, stride, expanded channels (0: none), channels before and after of every block."""
    before = 32
    for kernel, stride, expansion, after, blocks in LITE0:
        for place in range(blocks):
            yield kernel, 1 if place else stride, before * expansion if expansion > 1 else 0, before, after
            before = after


def lite0_state() -> dict[str, torch.Tensor]:
    """Random weights of EfficientNet-Lite0 in the names of efficientnet_pytorch."""
    random = torch.Generator().manual_seed(2)
    state: dict[str, torch.Tensor] = {}

    def add(conv: str, norm: str, out: int, each: int, kernel: int) -> None:
        scale = (2 / each / kernel**2) ** 0.5
        state[f"{conv}.weight"] = scale * torch.randn(out, each, kernel, kernel, generator=random)
        for what, least in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 0.5)):
            state[f"{norm}.{what}"] = torch.rand(out, generator=random) + least
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", 32, 3, 3)
    for i, (kernel, _, expanded, before, after) in enumerate(lite0_blocks()):
        block = f"_blocks.{i}"
        if expanded:
            add(f"{block}._expand_conv", f"{block}._bn0", expanded, before, 1)
        add(f"{block}._depthwise_conv", f"{block}._bn1", expanded or before, 1, kernel)
        add(f"{block}._project_conv", f"{block}._bn2", after, expanded or before, 1)
    add("_conv_head", "_bn1", 1280, 320, 1)
    return state | {"_fc.weight": torch.randn(1000, 1280, generator=random), "_fc.bias": torch.zeros(1000)}


def lite0_features(state: dict[str, torch.Tensor], images: torch.Tensor) -> list[torch.Tensor]:
    """Maps of stride 8, 16 and 32, computed from the definition of the network with TensorFlow's padding."""

    def layer(x: torch.Tensor, conv: str, norm: str, stride: int = 1, *, relu: bool = True) -> torch.Tensor:
        weight = state[f"{conv}.weight"]
        pads = [max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0) for size in x.shape[:1:-1]]
        x = F.pad(x, [side for pad in pads for side in (pad // 2, pad - pad // 2)])
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        values = [state[f"{norm}.{what}"] for what in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *values, eps=1e-3)
        return x.clamp(0, 6) if relu else x

    x, features = layer(images, "_conv_stem", "_bn0", 2), {}
    for i, (_, stride, expanded, before, after) in enumerate(lite0_blocks()):
        block, start = f"_blocks.{i}", x
        if expanded:
            x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
        x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", stride)
        x = layer(x, f"{block}._project_conv", f"{block}._bn2", relu=False)
        if stride == 1 and before == after:
            x = x + start
        features[after] = x
    return [features[40], features[112], features[320]]


def test_weights_of_efficientnet_pytorch_give_the_features_of_their_definition(tmp_path: Path) -> None:
    state = lite0_state()
    torch.save(state, tmp_path / "lite0.pth")
    model = build_model(tiny_config(backbone=TimmConfig(name="tf_efficientnet_lite0"))).eval()
    found = start_from(model, tmp_path / "lite0.pth")
    assert set(found.transferred) == {n for n in model.state_dict() if n.startswith("backbone.")}
    with torch.no_grad():
        for ours, expected in zip(model.backbone(IMAGES), lite0_features(state, IMAGES), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_weights_of_efficientnet_pytorch_for_a_network_with_other_padding_or_blocks_are_refused(tmp_path: Path) -> None:
    state, path = lite0_state(), tmp_path / "lite0.pth"
    torch.save(state, path)
    with pytest.raises(InvalidInput, match="pads otherwise than timm's efficientnet_lite0") as caught:
        start_from(build_model(tiny_config(backbone=TimmConfig(name="efficientnet_lite0"))), path)
    assert "tf_efficientnet_lite0" in caught.value.fix
    model = build_model(tiny_config(backbone=TimmConfig(name="tf_efficientnet_lite0")))
    torch.save({name: tensor for name, tensor in state.items() if "_blocks.3._bn1." not in name}, path)
    with pytest.raises(Integrity, match="not timm's weights of tf_efficientnet_lite0"):
        start_from(model, path)
    torch.save(state | {"_blocks.3._attention.weight": torch.zeros(3)}, path)
    with pytest.raises(Integrity, match=r"nothing like _blocks\.3\._attention\.weight"):
        start_from(model, path)


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
