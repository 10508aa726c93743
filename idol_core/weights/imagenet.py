"""Rename ImageNet backbones: ResNets of torchvision, timm and detectron2 and Swin to ours, EfficientNets to timm's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from idol_core.errors import Integrity
from idol_core.weights.infer_config import State

# unused: classifiers, their norm, and buffers that follow from sizes
_LEFT_OUT = re.compile(
    r"(stem\.)?fc\.|linear\.|head\.|norm\.|.*(num_batches_tracked|relative_position_index|attn_mask)$"
)


# Layers of efficientnet_pytorch and of timm
_EFFICIENTNET = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_FIRST_BLOCK = {  # depthwise, then pointwise
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    **_SQUEEZE,
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_EXPANDING_BLOCK = {  # pointwise to more channels, depthwise, pointwise to fewer
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    **_SQUEEZE,
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def to_backbone(state: Mapping[str, Tensor], *, where: str) -> tuple[State, list[str]]:
    """Rename a backbone's state dict to our names; also returns the names left out (classifier, unused buffers).

    Raises Integrity if the names are of no known kind.
    """
    if "conv1.weight" in state and "layer1.0.conv1.weight" in state:
        rename = _torchvision_resnet
    elif "stem.conv1.weight" in state:
        rename = _detectron2_resnet
    elif "patch_embed.proj.weight" in state:
        # timm puts the downsampling layer in the stage after it, the Swin authors in the stage before it
        timm = "layers.0.downsample.reduction.weight" not in state
        rename = _timm_swin if timm else _swin
    else:
        what = "this is neither an IDOL model nor a ResNet or Swin of torchvision, timm or detectron2"
        raise Integrity(what, where=where, fix="see idolctl ls zoo for weights that are known")
    left_out = [name for name in state if _LEFT_OUT.match(name)]
    kept = _without(state, left_out)
    return {"backbone." + rename(name): state[name] for name in kept}, left_out


def is_efficientnet_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is an EfficientNet's in the tensor names of the package efficientnet_pytorch."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def efficientnet_to_timm(state: Mapping[str, Tensor], *, where: str) -> State:
    """Rename an EfficientNet or EfficientNet-Lite of efficientnet_pytorch, its classifier included, to timm's names.

    That package counts blocks throughout, timm within stages: a stage begins where the number of channels changes.
    These weights were trained in TensorFlow: they need timm's networks whose names begin with tf_, which pad as
    TensorFlow does and whose batch norms have its epsilon.
    Raises Integrity if a tensor has no counterpart in timm.
    """
    places: dict[str, str] = {}  # number of a block -> "stage.place in the stage"
    stage, place, width = -1, 0, -1
    while f"_blocks.{len(places)}._project_conv.weight" in state:
        block = str(len(places))
        channels = len(state[f"_blocks.{block}._project_conv.weight"])
        stage, place = (stage, place + 1) if channels == width else (stage + 1, 0)
        places[block], width = f"{stage}.{place}", channels
    renamed = {}
    for name, tensor in state.items():
        outer, _, ending = name.rpartition(".")
        found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", outer)
        if found is None:
            part = _EFFICIENTNET.get(outer)
        else:
            expands = f"_blocks.{found[1]}._expand_conv.weight" in state
            part = (_EXPANDING_BLOCK if expands else _FIRST_BLOCK).get(found[2])
            part = f"blocks.{places[found[1]]}.{part}" if part and found[1] in places else None
        if part is None:
            what = f"timm's EfficientNets have nothing like {name}"
            raise Integrity(what, where=where, fix="choose the weights of an EfficientNet")
        renamed[f"{part}.{ending}"] = tensor
    return renamed


def _torchvision_resnet(name: str) -> str:
    name = re.sub(r"^conv1\.", "stem.", name)
    name = re.sub(r"^bn1\.", "stem.norm.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}.", name)
    name = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)
    return name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")


def _detectron2_resnet(name: str) -> str:
    return name.replace("stem.conv1.", "stem.")


def _timm_swin(name: str) -> str:
    return re.sub(r"^layers\.(\d)\.downsample\.", lambda found: f"layers.{int(found[1]) - 1}.downsample.", name)


def _swin(name: str) -> str:
    return name


def _without(names: Iterable[str], left_out: Iterable[str]) -> list[str]:
    dropped = set(left_out)
    return [name for name in names if name not in dropped]
