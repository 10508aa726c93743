"""Frame times: make timestamps of cameras and files rise, and fill in missing ones."""

from __future__ import annotations

_LEAST = 0.001  # least seconds between frames
_RESTART = 1.0  # a timestamp that goes back by more seconds means that the clock was restarted


class FrameClock:
    """Turns timestamps into seconds since the first frame, always rising.

    A frame without a timestamp comes `step` seconds after the previous one. One whose timestamp does not rise comes
    0.001 s after the previous one. If the timestamp goes back by more than 1 s, the clock was restarted: the frame
    comes `step` seconds after the previous one, and later timestamps are counted from there.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._last: float | None = None
        self._first: float | None = None  # timestamp at second 0

    def __call__(self, shown: float | None) -> float:
        """The time of the next frame, whose timestamp is `shown` seconds (None: it has none)."""
        usual = 0.0 if self._last is None else self._last + self._step
        if shown is None:
            self._last = usual
            return usual
        if self._first is None:
            self._first = shown - usual
        seconds = shown - self._first
        if self._last is not None and seconds <= self._last:
            if seconds < self._last - _RESTART:
                self._first, seconds = shown - usual, usual
            else:
                seconds = self._last + _LEAST
        self._last = seconds
        return seconds
