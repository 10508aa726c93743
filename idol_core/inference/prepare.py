"""Prepare a network for inference: a copy with everything precomputed that does not depend on the frames."""

from __future__ import annotations

import copy

import torch
from torch import nn

from idol_core.backbones.resnet import NormedConv
from idol_core.config import Precision
from idol_core.model.idol import IDOL
from idol_core.ops.precision import HALVES


def evaluation_copy(model: IDOL, device: torch.device, precision: Precision = "float32") -> IDOL:
    """Copy `model` to `device` in evaluation mode, for use in `arithmetic(device, precision)`; `model` is unchanged.

    As `for_evaluation`. Training the model further, or loading other weights into it, does not change the copy.
    """
    return for_evaluation(copy.deepcopy(model).to(device), precision)


def for_evaluation(model: IDOL, precision: Precision = "float32") -> IDOL:
    """Turn `model` itself into one for evaluation only, and return it; its weights must not be saved any more.

    Frozen batch norms are folded into their convolutions. In bf16 and fp16 the weights that autocast would cast for
    every batch are cast here, once. Outputs are the same to the last bit.
    """
    model.eval()
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NormedConv):
                setattr(module, name, child.folded())
    if precision in HALVES:
        for part in in_autocast(model):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(HALVES[precision])
    return model.requires_grad_(False)


def in_autocast(model: IDOL) -> list[nn.Module]:
    """The parts that run in autocast's dtype; projections, heads and dynamic masks keep float32."""
    masks = model.mask_head
    drawn = [masks.conv32, masks.conv16, masks.conv8, masks.reduce, masks.final]
    return [model.backbone, model.encoder, model.decoder.layers, *drawn]
