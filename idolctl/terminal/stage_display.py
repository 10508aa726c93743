"""Show a running stage on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from idolctl.terminal.progress import LINE_SECONDS, clock
from idolctl.terminal.text import printable, unescaped

TOLD_AT_ONCE = ("start", "evaluated", "kept", "warning")


class Display(Protocol):
    """Shows the reports of one stage."""

    def report(self, line: dict[str, Any]) -> None:
        """Take one line of metrics.jsonl."""

    def close(self) -> None:
        """End the display and restore the terminal."""


def make_display(step: int, *, start: int, iterations: int) -> Display:
    """A live table if stderr is a terminal, plain lines otherwise."""
    kind = LiveDisplay if sys.stderr.isatty() else PlainDisplay
    return kind(f"step {step}", start=start, iterations=iterations)


def describe(line: dict[str, Any], iterations: int) -> str:
    """One report as text: progress of the phase; for training also the speed and the values of `cells`."""
    phase = _phase(line)
    if phase in ("start", "kept"):
        return str(line["text"])
    if phase == "warning":
        return f"warning: {line['text']}"
    if phase == "read":
        return f"reading annotations {line['done'] / 1e6:.0f}/{line['total'] / 1e6:.0f} MB"
    if phase == "evaluate":
        return f"evaluate {line['done']}/{line['total']}"
    if phase == "evaluated":
        scores = "  ".join(f"{name} {value:.1f}" for name, value in (line.get("metrics") or {}).items())
        return f"iteration {line['iteration']} scored  {scores or 'no ground truth here'}"
    found = "  ".join(f"{name} {value}" for name, value in cells(line).items())
    speed, left = float(line.get("it_per_s") or 0.0), "?"
    if speed:
        left = clock((iterations - line["iteration"]) / speed)
    return f"train {line['iteration']}/{iterations}  {found}  {speed:.2f} it/s  ETA {left}"


def cells(line: dict[str, Any]) -> dict[str, str]:
    """Values of a training line other than speed: loss, gradient norm before clipping, learning rate, share of time
    spent waiting for data, peak device memory."""
    forms = {
        "loss": ("loss", "{:.3f}"),
        "grad_norm": ("grad", "{:.3g}"),
        "lr": ("lr", "{:.1e}"),
        "data_wait": ("wait", "{:.1%}"),
        "memory_mib": ("memory", "{:.0f} MiB"),
    }
    return {name: form.format(line[key]) for key, (name, form) in forms.items() if key in line}


def _phase(line: dict[str, Any]) -> str:
    """Phase of a report: start, read, train, evaluate, evaluated, kept or warning; '' for lines that are not shown."""
    event = str(line.get("event", ""))
    if event in (*TOLD_AT_ONCE, "read", "evaluate"):
        return event
    return "train" if "loss" in line else ""


class PlainDisplay:
    """Prints a line at the start of each phase, then one every few seconds; weights, warnings and scores at once."""

    def __init__(self, label: str, *, start: int, iterations: int) -> None:
        self._label, self._iterations = label, iterations
        self._phase, self._printed = "", 0.0
        self._say(f"starting at iteration {start} of {iterations}")

    def report(self, line: dict[str, Any]) -> None:
        phase = _phase(line)
        if phase in TOLD_AT_ONCE:
            self._say(describe(line, self._iterations))
        elif phase:
            ended = line["iteration"] == self._iterations if phase == "train" else line["done"] == line["total"]
            if phase != self._phase or ended or time.monotonic() - self._printed > LINE_SECONDS:
                self._phase, self._printed = phase, time.monotonic()
                self._say(describe(line, self._iterations))

    def close(self) -> None:
        pass

    def _say(self, text: str) -> None:
        print(printable(f"{self._label}  {text}"), file=sys.stderr, flush=True)


class LiveDisplay:
    """A progress bar above a one-row table with the stage's position and the newest training values."""

    def __init__(self, label: str, *, start: int, iterations: int) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._label, self._iterations = label, iterations
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )  # fmt: skip
        self._task = self._progress.add_task(label, total=iterations, completed=start, note="starting")
        self._trained: dict[str, Any] = {}
        self._live = Live(
            get_renderable=self._picture, console=Console(file=unescaped(sys.stderr)), refresh_per_second=4
        )
        self._live.start()

    def report(self, line: dict[str, Any]) -> None:
        phase = _phase(line)
        if phase in TOLD_AT_ONCE:
            text = printable(f"{self._label}  {describe(line, self._iterations)}")
            self._live.console.print(text, markup=False, highlight=False)
        elif phase == "train":
            self._trained = line
            note = f"train {line['iteration']}/{self._iterations}"
            self._progress.update(self._task, total=self._iterations, completed=line["iteration"], note=note)
        elif phase:
            note = describe(line, self._iterations)
            self._progress.update(self._task, total=line["total"], completed=line["done"], note=note)

    def close(self) -> None:
        self._live.stop()

    def _picture(self) -> Any:
        from rich import box
        from rich.console import Group
        from rich.table import Table

        if not self._trained:
            return self._progress
        line, speed = self._trained, float(self._trained.get("it_per_s") or 0.0)
        left = clock((self._iterations - line["iteration"]) / speed) if speed else "?"
        shown = {**cells(line), "it/s": f"{speed:.2f}", "ETA": left}
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row(*shown.values())
        return Group(self._progress, table)
