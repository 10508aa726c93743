"""Take the next batches from the loader; a loader that stalls or dies is reported with the items it was loading."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from idol_core.errors import IdolError
from idol_core.structures import Batch

STALL_SECONDS = 60.0  # unless the environment variable IDOL_STALL_SECONDS says otherwise


class LoaderLost(IdolError):
    """A data loader process ended: killed, or out of (shared) memory."""


def lost_loader(error: BaseException, *, where: str, when: str = "") -> LoaderLost | None:
    """Translate PyTorch's error about an ended loader process to LoaderLost; None for any other error.

    PyTorch raises it in the main thread as soon as the process has ended, whatever code is running there.
    """
    if not isinstance(error, RuntimeError) or "DataLoader worker" not in str(error):
        return None
    fix = "check whether memory or shared memory (/dev/shm) ran out; --set data.workers=0 loads without extra processes"
    return LoaderLost(f"a loader process ended{when}: {' '.join(str(error).split())}", where=where, fix=fix)


def next_batches(
    incoming: Iterator[list[Batch]],
    iteration: int,
    *,
    names: Callable[[int], list[str]],
    warn: Callable[[str], None],
) -> list[Batch]:
    """Take the micro-batches of `iteration` from the loader; a stall is passed to `warn` with the items' `names`.

    Raises:
        LoaderLost: a loader process ended.
    """

    def bark(seconds: float) -> None:
        items = ", ".join(names(iteration))
        warn(f"data loading is stalled: no batch for iteration {iteration} after {seconds:.0f} s, loading {items}")

    try:
        with watchdog(float(os.environ.get("IDOL_STALL_SECONDS", STALL_SECONDS)), bark):
            return next(incoming)
    except RuntimeError as error:
        items = ", ".join(names(iteration))
        if (lost := lost_loader(error, where=items, when=f" in iteration {iteration}")) is None:
            raise
        raise lost from error


@contextmanager
def watchdog(seconds: float, bark: Callable[[float], None]) -> Iterator[None]:
    """Call `bark(seconds waited)` from another thread every `seconds` until the context ends."""
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
