"""Rename ImageNet backbones to our names: ResNets of torchvision, timm and detectron2, and Swin."""

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
