"""Handle the signals that end a command (SIGTERM, SIGUSR1)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from idol_core.errors import Preempted

STOPS = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stoppable(fix: str = "run the same command again to continue") -> Iterator[None]:
    """Context in which SIGTERM and SIGUSR1 raise Preempted (exit 75), so that no half-written file is left.

    After the first one both are ignored, so that a second one can't disturb the cleanup or the exit code.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore()
        what = f"stopped by {signal.Signals(number).name}"
        raise Preempted(what, where=f"process {os.getpid()}", fix=fix)

    before = {n: signal.signal(n, stop) for n in STOPS}
    try:
        yield
    except (Preempted, KeyboardInterrupt):  # also raised after a signal was passed on to a worker
        _ignore()
        raise
    except BaseException:
        _restore(before)
        raise
    else:
        _restore(before)


def _ignore() -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
