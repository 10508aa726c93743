"""Says what a process is waiting for while it waits too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watchdog(seconds: float, bark: Callable[[float], None]) -> Iterator[None]:
    """Call `bark(seconds waited)` from another thread after `seconds`, and again whenever as many have passed."""
    over = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        while not over.wait(seconds):
            bark(time.monotonic() - started)

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
