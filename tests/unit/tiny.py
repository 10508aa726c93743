"""Networks of the real build in the smallest sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from idol_core.config import ModelConfig, ResNetConfig, SwinConfig

RESNET = ResNetConfig(blocks=(1, 1, 1, 1), stem_channels=16, bottleneck_channels=16, out_channels=32, freeze_at=0)
SWIN = SwinConfig(embed_dim=8, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=4)
_MODEL = ModelConfig(
    backbone=RESNET,
    num_classes=5,
    hidden_dim=32,
    heads=2,
    encoder_layers=2,
    decoder_layers=2,
    feedforward_dim=48,
    queries=20,
)


def tiny_config(**changes: Any) -> ModelConfig:
    """A whole model of about a hundred thousand parameters, with some settings changed."""
    return dataclasses.replace(_MODEL, **changes)
