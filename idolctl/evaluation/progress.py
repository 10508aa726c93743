"""How far an evaluation is, on stderr: one line rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from idolctl.progress import LINE_SECONDS, clock


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
        print(
            f"\r{text}   " if live else text, end="\n" if not live or done == total else "", file=sys.stderr, flush=True
        )

    return report
