"""The whole network with the kit's weights, and its input from the kit's images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch

from idol_core.build import assemble
from idol_core.config import ModelConfig, ResNetConfig, SwinConfig
from idol_core.model.idol import IDOL
from idol_core.structures import FrameBatch
from idol_core.weights.names import published_name
from tests.parity import kit
from tests.parity.fill import fill_state_dict

BACKBONES = {"r50": ResNetConfig(), "r101": ResNetConfig(blocks=(3, 4, 23, 3)), "swinl": SwinConfig()}


def config_of(manifest: str) -> ModelConfig:
    """The configuration of a manifest's name, such as ytvis19_r50."""
    classes = kit.document(f"manifest_{manifest}")["num_classes"]
    return ModelConfig(backbone=BACKBONES[manifest.rsplit("_", 1)[1]], num_classes=classes)


@lru_cache(maxsize=1)
def filled_model(manifest: str) -> IDOL:
    """A model in eval mode with the kit's deterministic weights; shared between tests, so leave it as it is."""
    shapes = {key: shape for key, shape, _ in kit.document(f"manifest_{manifest}")["entries"]}
    model = assemble(config_of(manifest))
    for name, tensor in model.state_dict().items():
        key = published_name(name)
        tensor.copy_(torch.from_numpy(fill_state_dict({key: shapes[key]})[key]))
    return model.eval()


def frame_batch(images: Iterable[np.ndarray]) -> FrameBatch:
    """uint8 RGB images [3, h, w] -> normalized, padded together to multiples of 32."""
    frames = [kit.normalized(image) for image in images]
    height, width = (math.ceil(max(f.shape[axis] for f in frames) / 32) * 32 for axis in (1, 2))
    batch = torch.zeros(len(frames), 3, height, width)
    padding = torch.ones(len(frames), height, width, dtype=torch.bool)
    for row, frame in enumerate(frames):
        batch[row, :, : frame.shape[1], : frame.shape[2]] = frame
        padding[row, : frame.shape[1], : frame.shape[2]] = False
    return FrameBatch(batch, padding, torch.tensor([f.shape[1:] for f in frames]))
