"""Prepare a network for inference: a copy with everything precomputed that does not depend on the frames."""

from __future__ import annotations

import copy

import torch
from torch import nn

from idol_core.backbones.resnet import NormedConv, ResNet
from idol_core.config import Precision
from idol_core.model.idol import IDOL
from idol_core.ops.precision import HALVES

FLOAT16_SCALE = 2.0**-8  # a power of two changes no bit of a number but its exponent


def evaluation_copy(model: IDOL, device: torch.device, precision: Precision = "float32") -> IDOL:
    """Copy `model` to `device` in evaluation mode, for use in `arithmetic(device, precision)`; `model` is unchanged.

    As `for_evaluation`. Training the model further, or loading other weights into it, does not change the copy.
    """
    return for_evaluation(copy.deepcopy(model).to(device), precision)


def for_evaluation(model: IDOL, precision: Precision = "float32") -> IDOL:
    """Turn `model` itself into one for evaluation only, and return it; its weights must not be saved any more.

    Frozen batch norms are folded into their convolutions. In bf16 and fp16 the weights that autocast would cast for
    every batch are cast here, once. Outputs are the same to the last bit, except in fp16 with a ResNet: its maps may
    overflow in the model itself, and don't in what this returns.
    """
    model.eval()
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NormedConv):
                setattr(module, name, child.folded())
    if precision == "fp16" and isinstance(model.backbone, ResNet):
        _scale_maps(model, model.backbone)
    if precision in HALVES:
        for part in in_autocast(model):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(HALVES[precision])
    return model.requires_grad_(False)


@torch.no_grad()
def _scale_maps(model: IDOL, backbone: ResNet) -> None:
    """Compute the backbone's maps at FLOAT16_SCALE, and undo it in their projections, which compute in float32.

    A ResNet trained from scratch with frozen batch norms can have activations beyond float16's largest number, 65504.
    Everything in it is linear, a ReLU or a maximum, so scaling its first weights and all biases scales all of its maps.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.mul_(FLOAT16_SCALE)
    stem = backbone.stem
    assert isinstance(stem, nn.Conv2d)
    stem.weight.mul_(FLOAT16_SCALE)
    from_maps = len(backbone.channels) + 1  # the first level beyond the maps is made from the last of them
    for projection in model.pyramid.projections[:from_maps]:
        projection.conv.weight.div_(FLOAT16_SCALE)


def in_autocast(model: IDOL) -> list[nn.Module]:
    """The parts that run in autocast's dtype; projections, heads and dynamic masks keep float32."""
    masks = model.mask_head
    drawn = [masks.conv32, masks.conv16, masks.conv8, masks.reduce, masks.final]
    return [model.backbone, model.encoder, model.decoder.layers, *drawn]
