"""Bottleneck ResNet (He et al. 2016) with the stride in the 3x3 convolution and frozen batch norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idol_core.ops.recompute import recomputed


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine part are buffers: y = (x - mean) / sqrt(var + 1e-5) * weight + bias."""

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Scale and shift, [C] each, so that y = x * scale + shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class NormedConv(nn.Module):
    """Convolution without bias, then frozen batch norm. The norm is folded into the weight at every call, which costs
    less than a pass over the activations; `folded` returns a convolution with the norm folded in for good."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.norm = FrozenBatchNorm(outputs)
        self.stride, self.padding = stride, kernel // 2
        self.shift: Tensor | None = None  # [C] while the norm's scale is already in the weight (engine.step_weights)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._fold() if self.shift is None else (self.weight, self.shift)
        return F.conv2d(x, weight, bias, self.stride, self.padding)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """Return a plain convolution with bias and its own weights that computes the same, bit for bit."""
        weight, bias = self._fold()
        outputs, inputs, kernel, _ = weight.shape
        with torch.device("meta"):  # no memory: its weights are assigned below
            conv = nn.Conv2d(inputs, outputs, kernel, self.stride, self.padding)
        conv.weight, conv.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
        return conv

    def _fold(self) -> tuple[Tensor, Tensor]:
        scale, shift = self.norm.scale_and_shift()
        return self.weight * scale.view(-1, 1, 1, 1), shift


@torch.no_grad()
def scales_and_shifts(norms: Sequence[FrozenBatchNorm], dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """`scale_and_shift` of all norms at once, in a few operations: scales [C, 1, 1, 1] each, shifts [C] in `dtype`."""
    if not norms:
        return [], []
    sizes = [len(norm.weight) for norm in norms]
    fields = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, var = (torch.cat([norm.get_buffer(name) for norm in norms]) for name in fields)
    scale = weight * (var + FrozenBatchNorm.eps).rsqrt()
    shift = (bias - mean * scale).to(dtype)
    return list(scale.view(-1, 1, 1, 1).split(sizes)), list(shift.split(sizes))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a shortcut, which is projected where the shape changes."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = NormedConv(inputs, width, 1)
        self.conv2 = NormedConv(width, width, 3, stride)
        self.conv3 = NormedConv(width, outputs, 1)
        self.shortcut = NormedConv(inputs, outputs, 1, stride) if inputs != outputs or stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.conv1(x))
        y = F.relu_(self.conv2(y))
        y = self.conv3(y)
        return F.relu_(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """[B, 3, H, W] -> feature maps of stride 8, 16 and 32 (res3, res4, res5); `channels` lists their channels.

    Args:
        blocks: bottlenecks in res2..res5.
        stem: channels after the 7x7 convolution.
        width: channels of the 3x3 convolutions in res2; doubles at every stage.
        outputs: output channels of res2; doubles at every stage.
        checkpoint: recompute every bottleneck in the backward pass to save memory.
    """

    def __init__(self, *, blocks: Sequence[int], stem: int, width: int, outputs: int, checkpoint: bool = False) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.stem = NormedConv(3, stem, 7, 2)
        stages, inputs = [], stem
        for i, count in enumerate(blocks):
            layers = []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                layers.append(Bottleneck(inputs, width << i, outputs << i, stride))
                inputs = outputs << i
            stages.append(nn.Sequential(*layers))
        self.res2, self.res3, self.res4, self.res5 = stages
        self.channels = (outputs << 1, outputs << 2, outputs << 3)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu_(self.stem(images)), 3, 2, 1)
        features = []
        for stage in (self.res2, self.res3, self.res4, self.res5):
            for block in stage:
                x = recomputed(block, x, enabled=self.checkpoint)
            features.append(x)
        return features[1:]

    def freeze(self, stages: int) -> None:
        """Freeze the first `stages` of stem, res2, res3, res4, res5 (detectron2's FREEZE_AT)."""
        for module in (self.stem, self.res2, self.res3, self.res4, self.res5)[:stages]:
            module.requires_grad_(False)
