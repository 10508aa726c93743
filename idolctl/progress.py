"""How a running stage looks: a live bar on a terminal, plain lines elsewhere. Everything on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

LINE_SECONDS = 10.0


class Display(Protocol):
    """Shows the reports of one stage."""

    def report(self, line: dict[str, Any]) -> None:
        """Take one line of metrics.jsonl."""

    def close(self) -> None:
        """Leave the screen tidy."""


def make_display(step: int, *, start: int, iterations: int) -> Display:
    """A live bar if stderr is a terminal, plain lines otherwise."""
    kind = LiveDisplay if sys.stderr.isatty() else PlainDisplay
    return kind(f"step {step}", start=start, iterations=iterations)


def say(text: str) -> None:
    """A line of its own, also after one that is rewritten."""
    print(f"\r{text}\x1b[K" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe(line: dict[str, Any], iterations: int) -> str:
    """One report as text: iteration, loss, speed and the time that is left; or how far reading or an evaluation is."""
    if line.get("event") == "read":
        return f"reading annotations {line.get('done', 0) / 1e6:.0f}/{line.get('total', 0) / 1e6:.0f} MB"
    if line.get("event") == "evaluate":
        return f"evaluate {line.get('done', 0)}/{line.get('total', 0)}"
    speed = float(line.get("it_per_s") or 0.0)
    left = clock((iterations - line["iteration"]) / speed) if speed else "?"
    loss = float(line.get("loss", float("nan")))
    return f"train {line['iteration']}/{iterations}  loss {loss:.3f}  {speed:.2f} it/s  ETA {left}"


def _phase(line: dict[str, Any]) -> str:
    """read, train or evaluate; nothing for lines that are not shown."""
    event = str(line.get("event", ""))
    return event if event in ("read", "evaluate") else "train" if "loss" in line else ""


class PlainDisplay:
    """A line at the start of each phase, then one every few seconds."""

    def __init__(self, label: str, *, start: int, iterations: int) -> None:
        self._label, self._iterations = label, iterations
        self._phase, self._printed = "", 0.0
        print(f"{label}  starting at iteration {start} of {iterations}", file=sys.stderr, flush=True)

    def report(self, line: dict[str, Any]) -> None:
        phase = _phase(line)
        if not phase:
            return
        ended = line["iteration"] == self._iterations if phase == "train" else line["done"] == line["total"]
        if phase != self._phase or ended or time.monotonic() - self._printed > LINE_SECONDS:
            self._phase, self._printed = phase, time.monotonic()
            print(f"{self._label}  {describe(line, self._iterations)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class LiveDisplay:
    """One bar that shows phase, iteration, loss, speed and ETA."""

    def __init__(self, label: str, *, start: int, iterations: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._label, self._iterations = label, iterations
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), console=Console(stderr=True),
        )  # fmt: skip
        self._task = self._bar.add_task(label, total=iterations, completed=start, note="starting")
        self._bar.start()

    def report(self, line: dict[str, Any]) -> None:
        phase = _phase(line)
        if not phase:
            return
        training = phase == "train"
        self._bar.update(
            self._task,
            total=self._iterations if training else line["total"],
            completed=line["iteration"] if training else line["done"],
            note=describe(line, self._iterations),
        )

    def close(self) -> None:
        self._bar.stop()


class Transfer:
    """The progress of one download: bytes, rate and ETA; a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = self._printed = time.monotonic()
        self._first: int | None = None
        self._last: tuple[int, int | None] | None = None

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty() and self._first is not None:
            print(file=sys.stderr)

    def update(self, done: int, total: int | None) -> None:
        """Take the bytes that are there now, and the size of the whole if it is known."""
        now = time.monotonic()
        if (done, total) == self._last:
            return
        self._last = (done, total)
        if self._first is None or done < self._first:
            self._first, self._started = done, now
        live = sys.stderr.isatty()
        if now - self._printed < (0.2 if live else LINE_SECONDS) and done != total:
            return
        self._printed = now
        rate = (done - self._first) / max(now - self._started, 1e-3)
        text = f"{self._name}  {done / 1e6:.1f}" + (f"/{total / 1e6:.1f} MB" if total else " MB")
        text += f"  {rate / 1e6:.1f} MB/s"
        if total and rate:
            text += f"  ETA {clock((total - done) / rate)}"
        print(f"\r{text}  " if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
