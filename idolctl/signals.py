"""Signals that end a command."""

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
def stoppable(fix: str = "the same command goes on") -> Iterator[None]:
    """SIGTERM and SIGUSR1 end what runs here as an error does, with exit 75: nothing half-written is left.

    From then on this process ignores both, so that a second one changes neither its cleaning up nor its exit code.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore()
        what = f"stopped by {signal.Signals(number).name}"
        raise Preempted(what, where=f"process {os.getpid()}", fix=fix)

    before = {n: signal.signal(n, stop) for n in STOPS}
    try:
        yield
    except (Preempted, KeyboardInterrupt):  # also for a worker that the signal was passed on to
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
