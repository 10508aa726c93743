"""Stay at the present: of frames that arrive faster than they are used, take the newest and drop the others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from idol_core.video.colors import Frame
from idol_core.video.files import TimedFrame

_PATIENCE = 0.1  # seconds between checks of `stop`
_GOODBYE = 1.0  # seconds for the reading thread to end


class LiveFrame(NamedTuple):
    """A frame, when it arrived (time.monotonic), and how many have arrived and were dropped until then."""

    pixels: Frame  # [H, W, 3] RGB
    arrived: float
    received: int  # this one included
    dropped: int


@contextlib.contextmanager
def newest(
    frames: Iterable[TimedFrame],
    *,
    stop: Callable[[], bool] = lambda: False,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[Iterator[LiveFrame]]:
    """Read `frames` in another thread; the iterator gives the newest one that was not given yet, waiting for it.

    It ends with the frames, the last of which is always given, or when `stop` returns true. What `frames` raises is
    raised after the last frame. `on_wait` is called ten times a second while no frame comes.
    """
    changed = threading.Condition()
    latest: list[LiveFrame] = []
    ended, given = False, 0
    failure: Exception | None = None
    abandoned = threading.Event()

    def read() -> None:
        nonlocal ended, failure
        received = 0
        try:
            for frame in frames:
                received += 1
                with changed:
                    latest[:] = [LiveFrame(frame.pixels, time.monotonic(), received, 0)]
                    changed.notify()
                if abandoned.is_set():
                    break
        except Exception as error:
            failure = error
        with changed:
            ended = True
            changed.notify()

    def taken() -> Iterator[LiveFrame]:
        nonlocal given
        while not stop():
            with changed:
                if not latest and not ended:
                    changed.wait(_PATIENCE)
                found = latest.pop() if latest else None
                over = ended
            if found is not None:
                given += 1
                yield found._replace(dropped=found.received - given)
            elif over:
                if failure is not None:
                    raise failure
                return
            else:
                on_wait()

    thread = threading.Thread(target=read, name="newest", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        abandoned.set()
        thread.join(_GOODBYE)  # a stream that sends nothing ends at its own timeout


def paced(frames: Iterable[TimedFrame], *, stop: Callable[[], bool] = lambda: False) -> Iterator[TimedFrame]:
    """Yield the frames of a file when they are due, as if they came from a camera."""
    started: float | None = None
    for frame in frames:
        started = time.monotonic() - frame.seconds if started is None else started
        while (left := started + frame.seconds - time.monotonic()) > 0 and not stop():
            time.sleep(min(left, _PATIENCE))
        if stop():
            return
        yield frame
