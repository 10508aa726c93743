"""The recorded numbers: where they lie, and how their images and network inputs are made."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

DATA = Path(os.environ.get("IDOL_PARITY_DIR") or Path(__file__).parent / "data").resolve()
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of `name`.npz."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def document(name: str) -> Any:
    """The parsed `name`.json (a path below the kit, without the ending)."""
    return json.loads((DATA / f"{name}.json").read_text())


def cases(data: dict[str, np.ndarray], prefix: str = "c") -> list[dict[str, np.ndarray]]:
    """Split keys `c<i>_name` into one dict a case, in order of i."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for key, value in data.items():
        head, _, rest = key.partition("_")
        if head.startswith(prefix) and head[len(prefix) :].isdigit():
            found.setdefault(int(head[len(prefix) :]), {})[rest] = value
    return [found[i] for i in sorted(found)]


def make_image(seed: int, height: int, width: int) -> np.ndarray:
    """[3, height, width] uint8 RGB, as the kit's README defines it."""
    rng = np.random.Generator(np.random.PCG64(int(seed)))
    base = rng.integers(0, 256, size=(3, math.ceil(height / 16), math.ceil(width / 16)), dtype=np.uint8)
    noise = rng.integers(0, 256, size=(3, height, width), dtype=np.uint8)
    base = base.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return ((3 * base.astype(np.uint16) + noise.astype(np.uint16)) // 4).astype(np.uint8)


def normalized(image: np.ndarray) -> Tensor:
    """[3, h, w] float32 network input."""
    mean, std = torch.tensor(PIXEL_MEAN).view(3, 1, 1), torch.tensor(PIXEL_STD).view(3, 1, 1)
    return (torch.from_numpy(image).float() - mean) / std
