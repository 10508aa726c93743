"""What a stage tells the outside: `state.json` (where it stands) and `metrics.jsonl` (a line per report)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from idol_core.engine.scalars import Scalars, open_scalars
from idol_core.files import write_aside, write_json


class Journal:
    """Writer of one stage folder's `state.json` and `metrics.jsonl`. Seconds add up over resumed sessions.

    A `silent` one writes nothing: all processes of a group but the first have it.
    """

    def __init__(self, folder: Path, *, iterations: int, silent: bool = False) -> None:
        self.folder = folder
        self.iterations = iterations
        self.silent = silent
        self._scalars: Scalars | None = None
        previous = read_state(folder)
        self._seconds = float(previous.get("seconds", 0.0))
        self._started = time.monotonic()

    def resume_at(self, iteration: int) -> None:
        """Drop the lines of iterations that will be run again. To be called before the first line."""
        if self.silent:
            return
        self._scalars = open_scalars(self.folder / "tensorboard", start=iteration)
        path = self.folder / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _iteration(line) <= iteration]
            with write_aside(path) as aside:
                aside.write_text("".join(line + "\n" for line in lines))

    def line(self, **values: Any) -> None:
        """Add a line to `metrics.jsonl`, and to TensorBoard's files if it is about an iteration."""
        if self.silent:
            return
        if self._scalars is not None and "iteration" in values:
            self._scalars.add(values)
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def reading(self, done: int, total: int) -> None:
        """Add a line on how many bytes of a large annotation file are read."""
        self.line(event="read", done=done, total=total)

    def state(self, status: str, *, phase: str, iteration: int, metrics: dict[str, float] | None = None,
              error: dict[str, Any] | None = None) -> None:  # fmt: skip
        """Replace `state.json`: status running, stopped, failed or done; phase train or evaluate."""
        if self.silent:
            return
        write_json(
            self.folder / "state.json",
            {
                "status": status,
                "phase": phase,
                "iteration": iteration,
                "iterations": self.iterations,
                "seconds": round(self._seconds + time.monotonic() - self._started, 2),
                "metrics": metrics,
                "error": error,
            },
        )


def read_state(folder: Path) -> dict[str, Any]:
    """The stage's `state.json`, or {} where there is none that can be read."""
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state


def _iteration(line: str) -> int:
    try:
        return int(json.loads(line).get("iteration", -1))
    except ValueError:  # a line cut short by a kill
        return 2**62
