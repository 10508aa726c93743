"""Progress on stderr: one line that is rewritten on a terminal, a new line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time

from idolctl.terminal.text import printable, unescaped

LINE_SECONDS = 10.0
_LIVE_SECONDS = 0.2


def say(text: str) -> None:
    """Print a separate line, also while a progress line is shown."""
    _show(text, live=sys.stderr.isatty())


def _show(text: str, *, live: bool, end: str = "\n") -> None:
    """Print a line on stderr; a `live` one overwrites the current unfinished line."""
    line = f"\r{printable(text)}\x1b[K" if live else printable(text)
    print(line, end=end, file=unescaped(sys.stderr), flush=True)


def clock(seconds: float) -> str:
    """Format a duration: 1:02:03 or 2:03; ? if it is not plausible (over 30 years)."""
    if not 0 <= seconds < 1e9:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
    """A progress line: amount done, rate and time left.

    On a terminal the line changes in place; elsewhere one is printed every ten seconds, and one at the end.

    Args:
        label: what is being done.
        total: the total amount, if known at the start.
        unit: unit of the amount (frames, MB); '' omits the rate.
        scale: amount per unit: 1e6 for bytes shown as MB.
        shown: False prints nothing.
    """

    def __init__(
        self, label: str, total: int | None = None, *, unit: str = "", scale: float = 1, shown: bool = True
    ) -> None:
        self._label, self._total, self._unit, self._scale, self._shown = label, total, unit, scale, shown
        self._live = sys.stderr.isatty()
        self._started = self._printed_at = time.monotonic()
        self._first, self._done = 0, 0
        self._printed: tuple[int, int | None] | None = None  # amount and total last printed

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
        """Seconds since the start."""
        return time.monotonic() - self._started

    def advance(self) -> None:
        """Add one to the amount done."""
        self.update(self._done + 1, self._total)

    def update(self, done: int, total: int | None = None) -> None:
        """Set the amount done, and the total if known. A smaller amount than before means a retry from the start."""
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
    """Progress line, in MB, for bytes read, written or downloaded."""
    return ProgressLine(label, unit="MB", scale=1e6)
