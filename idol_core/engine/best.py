"""The weights that scored best while a stage trained: `best.safetensors` and, about them, `best.json`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from torch import nn

from idol_core.convert import save_weights
from idol_core.files import write_json


def keep_best(
    folder: Path, iteration: int, metrics: dict[str, float] | None, model: nn.Module, metadata: dict[str, str]
) -> None:
    """Save `model` if its AP is above that of the best so far; a set without ground truth has no best."""
    if metrics is None or metrics["AP"] <= _best_ap(folder):
        return
    save_weights(folder / "best.safetensors", model.state_dict(), metadata)
    write_json(folder / "best.json", {"iteration": iteration, "metrics": metrics})


def _best_ap(folder: Path) -> float:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return float(json.loads((folder / "best.json").read_text(encoding="utf-8"))["metrics"]["AP"])
    return float("-inf")
