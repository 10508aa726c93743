"""One changing line of progress on stderr: a bar of text on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

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
        _show(text, live=live, end="" if live else "\n")


def counter(what: str) -> Callable[[int, int], None]:
    """A callback for (done, total)."""
    started = time.monotonic()
    printed = 0.0

    def report(done: int, total: int) -> None:
        nonlocal printed
        live, now = sys.stderr.isatty(), time.monotonic()
        if done < total and now - max(printed, started) < (0.2 if live else LINE_SECONDS):
            return
        printed = now
        left = f"  ETA {clock((now - started) / done * (total - done))}" if 0 < done < total else ""
        text = f"{what}  {done}/{total}{left}"
        _show(text, live=live, end="\n" if not live or done == total else "")

    return report


class FrameCount:
    """Counts the frames of one clip, in silence if not `shown`. Outside a terminal the last line comes at the end."""

    def __init__(self, label: str, total: int | None, *, shown: bool = True) -> None:
        self._label, self._total, self._shown, self._done = label, total, shown, 0
        self._started = self._printed = time.monotonic()
        self._live = sys.stderr.isatty()

    def __enter__(self) -> FrameCount:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._print(final=True)
        if self._live and self._shown and self._done:
            print(file=sys.stderr)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def advance(self) -> None:
        """Another frame is done."""
        self._done += 1
        if time.monotonic() - self._printed > (_LIVE_SECONDS if self._live else LINE_SECONDS):
            self._print()

    def _print(self, *, final: bool = False) -> None:
        if not self._shown:
            return
        self._printed = time.monotonic()
        speed = self._done / max(self.seconds, 1e-6)
        of = f"/{self._total}" if self._total and not final else ""
        text = f"{self._label} {self._done}{of} frames  {speed:.1f} frames/s"
        if self._total and not final and self._done:
            text += f"  ETA {clock(max(self._total - self._done, 0) / speed)}"
        _show(text, live=self._live, end="" if self._live else "\n")
