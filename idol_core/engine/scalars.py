"""TensorBoard's copy of the training lines, where tensorboard is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Scalars:
    """Writes numbers to event files in `folder`; those of iterations from `start` on replace older ones."""

    def __init__(self, folder: Path, *, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, line: dict[str, Any]) -> None:
        """Add a training line of metrics.jsonl, or the scores of an evaluation."""
        step = int(line["iteration"])
        numbers = {"train": line, "losses": line.get("losses", {}), "scores": line.get("metrics") or {}}
        for group, values in numbers.items():
            for name, value in values.items():
                if isinstance(value, int | float) and name != "iteration":
                    self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()


def open_scalars(folder: Path, *, start: int) -> Scalars | None:
    """A writer, or None without tensorboard."""
    return Scalars(folder, start=start) if find_spec("tensorboard") else None
