"""Write a stage's `state.json` (its status) and `metrics.jsonl` (a line per report)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from idol_core.engine.metrics_lines import RESUMED, read_lines
from idol_core.engine.run_logs import About, RunLogs
from idol_core.engine.stage_files import METRICS_LINES, StageError, StageStatus, read_status, write_status
from idol_core.system.files import write_aside


class Journal:
    """Writes `state.json` and `metrics.jsonl` of one stage folder. Seconds add up over resumed sessions.

    A `silent` journal writes warnings only; every rank but 0 has one. `log` names experiment trackers, to which the
    numbers and the `settings` are sent too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        iterations: int,
        silent: bool = False,
        log: Sequence[str] = (),
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.iterations = iterations
        self.silent = silent
        about = About(folder, f"{folder.parent.name} {folder.name}", settings)
        self._logs = RunLogs(about, log, warn=self.warn)
        self._begun = silent  # whether lines can be written: resume_at has cleaned up metrics.jsonl
        self._held: list[dict[str, Any]] = []  # lines to write once it has
        self._seconds = read_status(folder).seconds
        self._started = time.monotonic()

    def resume_at(self, iteration: int) -> None:
        """Drop invalid lines and those of iterations that will be run again. Must be called before `line`.

        If any are dropped, the file is replaced, and a line marks where this session begins.
        """
        if self.silent:
            return
        path = self.folder / METRICS_LINES
        if any(not _stays(line.values, iteration) for line in read_lines(path)):
            with write_aside(path) as aside, open(aside, "wb") as file:
                file.writelines(line.raw for line in read_lines(path) if _stays(line.values, iteration))
                file.write(json.dumps({"event": RESUMED, "iteration": iteration}).encode() + b"\n")
        self._begun = True
        for values in self._held:
            self._append(values)
        self._logs.open(iteration)

    def line(self, **values: Any) -> None:
        """Add a line to `metrics.jsonl`, and send it to the experiment trackers if it has an iteration."""
        if self.silent:
            return
        self._append(values)
        if "iteration" in values:
            self._logs.add(values)

    def close(self, *, done: bool) -> None:
        """End this session in the experiment trackers."""
        self._logs.close(done=done)

    def has_evaluated(self, iteration: int) -> bool:
        """Whether `metrics.jsonl` records an evaluation at this iteration."""
        told = (line.values or {} for line in read_lines(self.folder / METRICS_LINES))
        return any(v.get("event") == "evaluated" and v["iteration"] == iteration for v in told)

    def scores(self, until: int) -> list[tuple[int, float]]:
        """Iteration and AP of every evaluation up to an iteration that had ground truth, in order."""
        found = {}
        for line in read_lines(self.folder / METRICS_LINES):
            values = line.values or {}
            if (
                values.get("event") == "evaluated"
                and values["iteration"] <= until
                and "AP" in (values["metrics"] or {})
            ):
                found[values["iteration"]] = values["metrics"]["AP"]
        return sorted(found.items())

    def warn(self, text: str) -> None:
        """Print `text` on stderr and add it to `metrics.jsonl`, for anyone watching the run.

        A silent journal does so too: the warning concerns a stall of the whole group, so no other process is writing.
        """
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} warning: {text}", file=sys.stderr, flush=True)
        self._tell({"event": "warning", "text": text})

    def start_from(self, text: str) -> None:
        """Add a line that says which weights training starts from."""
        if not self.silent:
            self._tell({"event": "start", "text": text})

    def reading(self, done: int, total: int) -> None:
        """Add a line on how many bytes of a large annotation file have been read."""
        self.line(event="read", done=done, total=total)

    def _tell(self, values: dict[str, Any]) -> None:
        """Add a line now, or hold it until `resume_at` has cleaned up the file."""
        if self._begun:
            self._append(values)
        else:
            self._held.append(values)

    def _append(self, values: dict[str, Any]) -> None:
        with open(self.folder / METRICS_LINES, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def state(self, status: str, *, phase: str, iteration: int, metrics: dict[str, float] | None = None,
              error: StageError | None = None) -> None:  # fmt: skip
        """Replace `state.json`. status: running, stopped, failed or done; phase: train or evaluate."""
        if not self.silent:
            seconds = round(self._seconds + time.monotonic() - self._started, 2)
            found = StageStatus(status, phase, iteration, self.iterations, seconds, metrics, error)
            write_status(self.folder, found)
            if status == "done" and metrics:  # no line of metrics.jsonl says so
                self._logs.add({"event": "evaluated", "iteration": iteration, "metrics": metrics})


def _stays(line: dict[str, Any] | None, iteration: int) -> bool:
    return line is not None and line.get("iteration", 0) <= iteration
