"""Frames done and frames a second: one changing line on a terminal, a line every few seconds elsewhere; on stderr."""

from __future__ import annotations

import sys
import time

from idolctl.progress import LINE_SECONDS, clock

_LIVE_SECONDS = 0.2


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
        print(f"\r{text}\x1b[K" if self._live else text, end="" if self._live else "\n", file=sys.stderr, flush=True)
