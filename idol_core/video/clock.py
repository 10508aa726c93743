"""Times of frames, where cameras and files keep a clock, and where they don't."""

from __future__ import annotations

_LEAST = 0.001  # seconds from one frame to the next
_RESTART = 1.0  # seconds by which a clock goes back that has begun anew


class FrameClock:
    """Seconds since the first frame, always rising.

    A frame without a time comes `step` seconds after the one before it. A time that does not rise follows closely on
    the one before it; a clock that goes back further has begun anew, and is taken to go on.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._last: float | None = None
        self._first: float | None = None  # what the clock showed at second 0

    def __call__(self, shown: float | None) -> float:
        """The time of the next frame, whose clock shows `shown` seconds."""
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
