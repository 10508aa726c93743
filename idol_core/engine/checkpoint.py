"""Checkpoints of a running stage: `checkpoints/<iteration>.pt`, the last few kept, a damaged one passed over.

A checkpoint holds the iteration to run next, model, optimiser and gradient-scaler state. No generator state is needed:
every random draw of an iteration is seeded by (seed, iteration, item).
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from idol_core.system.files import write_aside, write_json
from idol_core.weights import save_weights


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write `folder/<iteration>.pt` atomically, then delete all but the newest `keep` checkpoints."""
    path = folder / f"{iteration:08d}.pt"
    content = io.BytesIO()  # torch.save to a file would hide what is wrong with the disk behind a RuntimeError
    torch.save({"iteration": iteration, **state}, content)
    with write_aside(path) as aside:
        aside.write_bytes(content.getbuffer())
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a stage, oldest first."""
    return sorted(path for path in folder.glob("*.pt") if path.stem.isdigit())


def sweep(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote a checkpoint."""
    for path in folder.glob(".*.part.pt"):
        path.unlink(missing_ok=True)


def newest_iteration(folder: Path) -> int:
    """The iteration of the newest checkpoint, by its name; 0 where there is none."""
    found = list_checkpoints(folder)
    return int(found[-1].stem) if found else 0


def load_newest(folder: Path, *, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest whole checkpoint, on the CPU, or None; `warn` hears of each damaged one that is passed over."""
    for path in reversed(list_checkpoints(folder)):
        try:
            return _load(path)
        except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
            warn(f"checkpoint {path} is damaged ({error}); falling back to the one before")
    return None


def _load(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch.load itself does not verify the archive's checksums
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad checksum of {damaged}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


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
