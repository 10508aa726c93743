"""One changing line of progress on stderr: a bar of text on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from idolctl.terminal.text import printable, unescaped

LINE_SECONDS = 10.0
_LIVE_SECONDS = 0.2


def say(text: str) -> None:
    """A line of its own, also after one that is rewritten."""
    _show(text, live=sys.stderr.isatty())


def _show(text: str, *, live: bool, end: str = "\n") -> None:
    """Print a line on stderr; a `live` one in place of the line that has no end yet."""
    line = f"\r{printable(text)}\x1b[K" if live else printable(text)
    print(line, end=end, file=unescaped(sys.stderr), flush=True)


def clock(seconds: float) -> str:
    """1:02:03 or 2:03; ? for what is no time (over 30 years)."""
    if not 0 <= seconds < 1e9:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
    """How far something is: amount, rate and time left on one line.

    On a terminal the line changes in place; elsewhere one is printed every ten seconds, and one at the end.

    Args:
        label: what is being done.
        total: the amount in all, where it is known at the start.
        unit: what is counted (frames, MB); '' leaves out the rate.
        scale: how many of what is counted make a unit: 1e6 for bytes shown as MB.
        shown: False counts in silence.
    """

    def __init__(
        self, label: str, total: int | None = None, *, unit: str = "", scale: float = 1, shown: bool = True
    ) -> None:
        self._label, self._total, self._unit, self._scale, self._shown = label, total, unit, scale, shown
        self._live = sys.stderr.isatty()
        self._started = self._printed_at = time.monotonic()
        self._first, self._done = 0, 0
        self._printed: tuple[int, int | None] | None = None  # amount and total of the last line

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._done:
            self._total = self._done
            self._print()
        elif self._live and self._printed is not None and self._printed[0] != self._printed[1]:
            print(file=sys.stderr)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def advance(self) -> None:
        """One more is done."""
        self.update(self._done + 1, self._total)

    def update(self, done: int, total: int | None = None) -> None:
        """Take the amount that is done now, and the whole where it is known. Less than before: a new attempt began."""
        if (self._printed is None and not self._done) or done < self._done:
            self._first, self._started = (done if self._scale != 1 else 0), time.monotonic()
        self._done, self._total = done, total
        if time.monotonic() - self._printed_at >= (_LIVE_SECONDS if self._live else LINE_SECONDS) or done == total:
            self._print()

    def _print(self) -> None:
        if not self._shown or self._printed == (self._done, self._total):
            return
        self._printed, self._printed_at = (self._done, self._total), time.monotonic()
        ended = self._done == self._total
        _show(self._text(), live=self._live, end="" if self._live and not ended else "\n")

    def _text(self) -> str:
        done, total = self._amount(self._done), "" if self._total is None else f"/{self._amount(self._total)}"
        rate = (self._done - self._first) / max(self.seconds, 1e-3)
        text = f"{self._label}  {done}{total}"
        if self._unit:
            text += f" {self._unit}  {rate / self._scale:.1f} {self._unit}/s"
        if self._total and rate > 0 and self._done < self._total:
            text += f"  ETA {clock((self._total - self._done) / rate)}"
        return text

    def _amount(self, number: int) -> str:
        return str(number) if self._scale == 1 else f"{number / self._scale:.1f}"


def transfer(label: str) -> ProgressLine:
    """The progress of bytes that are read, written or downloaded."""
    return ProgressLine(label, unit="MB", scale=1e6)
