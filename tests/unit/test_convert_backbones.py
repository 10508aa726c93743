"""ImageNet backbones of torchvision, timm and detectron2 give the same features in our modules."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from idol_core.build import build_model
from idol_core.config import ResNetConfig, SwinConfig
from idol_core.errors import Integrity, InvalidInput
from idol_core.model.idol import IDOL
from idol_core.weights import load_backbone, save_weights, start_from
from idol_core.weights.imagenet import to_backbone
from idol_core.weights.infer_config import expected_shapes
from tests.unit.tiny import RESNET, SWIN, tiny_config


def model_with(backbone: ResNetConfig | SwinConfig) -> IDOL:
    return build_model(tiny_config(backbone=backbone)).eval()


def unsettled(network: nn.Module) -> nn.Module:
    """With batch norms that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.2)
    return network.eval()


def resnet_features(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The published model's own maps of stride 8, 16, 32; torchvision and timm name these parts alike."""
    relu = getattr(network, "relu", None) or network.act1
    x = network.maxpool(relu(network.bn1(network.conv1(images))))
    features = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        features.append(x)
    return features[1:]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.std()))


@pytest.mark.parametrize("source", ["torchvision", "timm", "detectron2"])
def test_resnet_features(source: str, tmp_path: Path) -> None:
    network = (
        timm.create_model("resnet50.tv_in1k", pretrained=False) if source == "timm" else torchvision.models.resnet50()
    )
    state, path = unsettled(network).state_dict(), tmp_path / "r50.pth"
    if source == "detectron2":
        path = path.with_suffix(".pkl")
        named = {_detectron2_name(name): tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({"model": named, "__author__": "torchvision", "matching_heuristics": True}))
    else:
        torch.save(state, path)

    model = model_with(ResNetConfig())
    report = load_backbone(model, path)
    counts = {name for name in state if name.endswith("num_batches_tracked")}
    assert len(report.left_out) == len(counts) + 2  # and the classifier
    assert set(report.transferred) == {name for name in model.state_dict() if name.startswith("backbone.")}
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert_same(model.backbone(images), resnet_features(network, images))


def _detectron2_name(name: str) -> str:
    """What detectron2 calls a part of torchvision's ResNet."""
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    return f"res{int(name[5]) + 1}{name[6:]}" if name.startswith("layer") else f"stem.{name}"


def test_swin_features(tmp_path: Path) -> None:
    """On maps of whole windows larger than one; there timm and detection agree."""
    network = SwinTransformer(
        img_size=256,
        embed_dim=SWIN.embed_dim,
        depths=SWIN.depths,
        num_heads=SWIN.heads,
        window_size=SWIN.window,
        num_classes=7,
    ).eval()
    for tensor in network.state_dict().values():
        tensor.copy_(tensor + 0.1 * torch.randn_like(tensor))
    save_weights(tmp_path / "swin.safetensors", network.state_dict(), {})
    model = model_with(SWIN)
    report = start_from(model, tmp_path / "swin.safetensors")
    assert {name.split(".")[0] for name in report.left_out} == {"head", "norm"}
    assert "backbone.norms.3.weight" in report.reinitialised

    images = torch.randn(2, 3, 256, 256)
    with torch.no_grad():
        theirs = network.forward_intermediates(images, intermediates_only=True, norm=False)
        expected = [F.layer_norm(x.movedim(1, 3), x.shape[1:2]).movedim(3, 1) for x in theirs[1:]]
        assert_same(model.backbone(images), expected)


def test_swin_l_fits_name_by_name() -> None:
    with torch.device("meta"):
        network = timm.create_model("swin_large_patch4_window12_384", pretrained=False)
    found, left_out = to_backbone(network.state_dict(), where="")
    expected = expected_shapes(tiny_config(backbone=SwinConfig()))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        name: shape
        for name, shape in expected.items()
        if name.startswith("backbone.") and not name.startswith("backbone.norms.")
    }
    assert set(left_out) == {"norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias"}


def test_swin_as_its_authors_publish_it(tmp_path: Path) -> None:
    """They count the way down with the stage it leaves, and keep buffers that follow from sizes."""
    source = model_with(SWIN).backbone
    state = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("norms.")}
    state |= {
        "norm.weight": torch.ones(64),
        "head.weight": torch.ones(7, 64),
        "layers.0.blocks.1.attn_mask": torch.ones(4, 16, 16),
    }
    torch.save({"model": state}, tmp_path / "swin.pth")
    model = model_with(SWIN)
    report = load_backbone(model, tmp_path / "swin.pth")
    assert len(report.left_out) == 3
    for name, tensor in model.backbone.state_dict().items():
        assert name.startswith("norms.") or torch.equal(tensor, source.state_dict()[name])


def test_wrong_depth_missing_tensor_and_unknown_kind(tmp_path: Path) -> None:
    path = tmp_path / "backbone.pth"
    state = torchvision.models.resnet50().state_dict()
    torch.save(state, path)
    with pytest.raises(InvalidInput, match="the weights have a ResNet-50 backbone, the model a ResNet-101"):
        load_backbone(model_with(ResNetConfig(blocks=(3, 4, 23, 3))), path)
    del state["layer3.2.bn2.bias"]
    torch.save(state, path)
    with pytest.raises(Integrity, match=r"backbone\.res4\.2\.conv2\.norm\.bias.* missing"):
        load_backbone(model_with(ResNetConfig()), path)
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(Integrity):
        load_backbone(model_with(ResNetConfig()), path)
    torch.save({"features.0.weight": torch.zeros(3)}, path)
    with pytest.raises(Integrity, match="neither an IDOL model nor"):
        load_backbone(model_with(RESNET), path)
