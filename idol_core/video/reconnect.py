"""Keep up with a live stream that breaks off: connect again, with growing waits, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from idol_core.errors import Integrity, NetworkError
from idol_core.video.files import TimedFrame
from idol_core.video.streams import BrokenFile

FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between attempts; a wait is twice the one before
PATIENCE = 120.0  # seconds without a frame after which no more attempt is made
_CHECK = 0.1  # seconds between checks of `stop`


@dataclass
class Gaps:
    """Interruptions of a live stream so far."""

    count: int = 0
    seconds: float = 0.0  # total length of those that are over
    began: float | None = None  # time.monotonic() at the start of one that is not over

    def __str__(self) -> str:
        return f"{self.count} gap{'s' * (self.count > 1)} ({self.seconds:.1f} s)" if self.count else "no gaps"


def reconnected(
    connect: Callable[[], Iterator[TimedFrame]],
    *,
    gaps: Gaps,
    say: Callable[[str], None],
    stop: Callable[[], bool],
    first_wait: float = FIRST_WAIT,
    patience: float = PATIENCE,
) -> Iterator[TimedFrame]:
    """Yield the frames of `connect()`; where these break off, connect again and continue, until they end or `stop`.

    Time goes on during a gap: the first frame after it comes as many seconds after the last one before as the gap took.
    Waits start anew after a connection that lasted longer than the last wait.

    Args:
        connect: opens the stream and yields its frames; raises NetworkError or Integrity if that fails or breaks off.
        gaps: counts the interruptions while they happen.
        say: called with a line before each attempt to connect again, and when the stream is back.

    Raises what `connect` raises before the first frame of all, BrokenFile for a file, which would begin anew, and
    NetworkError after `patience` seconds without a frame.
    """
    last, wait = -1.0, first_wait  # time of the last frame; -1: there was none
    waiting = began = time.monotonic()  # since when a frame has been awaited; start of this connection
    while True:
        offset: float | None = None
        try:
            for frame in connect():
                now = time.monotonic()
                if offset is None:
                    offset, began = 0.0 if last < 0 else last + now - waiting - frame.seconds, now
                if gaps.began is not None:
                    say(f"the stream is back after {now - gaps.began:.1f} s")
                    gaps.seconds, gaps.began = gaps.seconds + now - gaps.began, None
                last = frame.seconds + offset
                yield TimedFrame(frame.pixels, last)
                waiting = time.monotonic()
            return
        except (NetworkError, Integrity) as error:
            if last < 0 or isinstance(error, BrokenFile):
                raise
            if stop():
                return
            reason = error
        if gaps.began is None:
            gaps.count, gaps.began = gaps.count + 1, waiting
            wait = first_wait if waiting - began > wait else min(2 * wait, LONGEST_WAIT)
        else:
            wait = min(2 * wait, LONGEST_WAIT)
        if time.monotonic() + wait - waiting > patience:
            what = f"the stream did not come back within {patience:g} s: {reason.what}"
            fix = "run it again once the camera or server is on"
            raise NetworkError(what, where=reason.where, fix=fix) from reason
        say(f"warning: {reason.where}: {reason.what}; connecting again in {wait:.1f} s")
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            if stop():
                return
            time.sleep(min(left, _CHECK))
