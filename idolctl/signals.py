"""Signals that end a command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from idol_core.errors import Preempted


@contextmanager
def stoppable(fix: str = "the same command goes on") -> Iterator[None]:
    """SIGTERM and SIGUSR1 end what runs here as an error does, with exit 75: nothing half-written is left."""

    def stop(number: int, _frame: FrameType | None) -> None:
        what = f"stopped by {signal.Signals(number).name}"
        raise Preempted(what, where=f"process {os.getpid()}", fix=fix)

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
