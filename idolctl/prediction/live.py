"""Track a stream as it happens and show it: frames that come too fast are dropped, and nothing is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from idol_core.drawing.frame import Drawn, draw_objects, write_caption
from idol_core.drawing.tracks import enlargement
from idol_core.errors import InvalidInput
from idol_core.inference.streaming import VideoSegmenter
from idol_core.tracking.online import TrackedFrame
from idol_core.video.camera import camera_device, read_camera
from idol_core.video.colors import Frame
from idol_core.video.files import TimedFrame, unheard
from idol_core.video.newest import newest, paced
from idol_core.video.reconnect import Gaps, reconnected
from idol_core.video.streams import is_stream, read_stream
from idolctl.prediction.serve import Page, serving
from idolctl.prediction.sources import CAMERA, camera_number, find_sources
from idolctl.prediction.window import Window
from idolctl.terminal.progress import LINE_SECONDS, say

_RECENT = 0.9  # weight of what was before in the running figures


class Figures(NamedTuple):
    """How a stream goes. `latency`: from a frame's arrival to its picture, a running mean in seconds."""

    frames: int = 0  # tracked
    dropped: int = 0
    latency: float = 0.0
    rate: float = 0.0  # tracked frames a second, a running mean
    gaps: int = 0  # times that the stream broke off

    def as_dict(self) -> dict[str, int | float]:
        """The figures with their units."""
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "latency_ms": round(1000 * self.latency),
            "frames_per_second": round(self.rate, 1),
            "gaps": self.gaps,
        }

    def __str__(self) -> str:
        gaps = f", {self.gaps} gap{'s' * (self.gaps > 1)}" if self.gaps else ""
        return f"{self.rate:.1f} frames/s, latency {1000 * self.latency:.0f} ms, {self.dropped} dropped{gaps}"


def live_frames(
    source: str, *, root: Path | None, stop: Callable[[], bool], rate: float | None, gaps: Gaps
) -> Iterator[TimedFrame]:
    """Frames of a network stream or camera as they come, of a file, folder or data set's video at its own pace.

    A network stream that breaks off is connected again; `gaps` counts how often.

    Raises as `find_sources` does, InvalidInput for several videos.
    """
    if is_stream(source):
        return reconnected(lambda: read_stream(source, stop=stop, low_delay=True), gaps=gaps, say=say, stop=stop)
    if source.startswith(CAMERA):
        number = camera_number(source)
        camera_device(number)
        return read_camera(number, stop=stop)
    sources = find_sources(source, root=root, recording=Path(), stop=stop, rate=rate)
    if not sources.single:
        raise InvalidInput("one video at a time can be shown", where=source, fix="name one file")
    return paced(sources.clips[0].read(unheard), stop=stop)


class _Screen:
    """Where the pictures are shown: a window, a page, or both. Frames are [H, W, 3] RGB."""

    def __init__(self, window: Window | None, page: Page | None) -> None:
        self._window, self._page = window, page
        self._picture: Frame | None = None  # the last one, without caption

    @property
    def closed(self) -> bool:
        return self._window is not None and self._window.closed

    def show(self, picture: Frame, caption: str, figures: Figures) -> None:
        self._picture = picture
        picture = write_caption(picture, caption)
        if self._page is not None:
            self._page.show(picture, figures.as_dict())
        if self._window is not None:
            self._window.show(picture)

    def wait(self, figures: Figures, gaps: Gaps) -> None:
        """Without a new frame: let the window react, and show in the last picture for how long there was no signal."""
        if self._window is not None:
            self._window.update()
        began = gaps.began  # the thread that reads may end the gap meanwhile
        if began is not None and self._picture is not None:
            seconds = time.monotonic() - began
            self.show(self._picture, f"no signal for {seconds:.0f} s", figures._replace(gaps=gaps.count))


def show_live(
    segmenter: VideoSegmenter,
    frames: Iterator[TimedFrame],
    *,
    name: str,
    threshold: float,
    window: bool,
    port: int | None,
    stop: Callable[[], bool],
    gaps: Gaps,
) -> Figures:
    """Track `frames` until they end, `stop` returns true or the window is closed; returns the last figures.

    `gaps` are the interruptions of `frames`; tracks go on after them. If the frames' size changes, tracking starts
    anew. Raises InvalidInput without a display, IdolError for a port that is taken, and what `frames` raises.
    """
    with contextlib.ExitStack() as stack:
        shown = Window(name) if window else None
        page = None
        if shown is not None:
            stack.callback(shown.close)
        if port is not None:
            page, address = stack.enter_context(serving(port))
            say(f"open {address} in a browser")
        screen = _Screen(shown, page)
        figures, told = Figures(), time.monotonic()
        video, size = segmenter.start(), None
        coming = stack.enter_context(
            newest(frames, stop=lambda: stop() or screen.closed, on_wait=lambda: screen.wait(figures, gaps))
        )
        before = time.monotonic()
        for frame in coming:
            if size not in (None, frame.pixels.shape):
                say(f"the frames are now {frame.pixels.shape[1]}x{frame.pixels.shape[0]}: tracking starts anew")
                video = segmenter.start()
            size = frame.pixels.shape
            (tracked,) = segmenter.stream([frame.pixels], video=video)
            picture = draw_tracked(frame.pixels, tracked, segmenter.classes, threshold)
            now = time.monotonic()
            since = before if gaps.count == figures.gaps else frame.arrived
            figures = _updated(figures, frame.dropped, gaps.count, latency=now - frame.arrived, seconds=now - since)
            before = now
            screen.show(picture, str(figures), figures)
            if now - told >= LINE_SECONDS:
                told = now
                say(f"{name}: {figures}")
    return figures._replace(gaps=gaps.count)


def draw_tracked(pixels: Frame, tracked: TrackedFrame, classes: tuple[str, ...], threshold: float) -> Frame:
    """Draw the tracks of a frame whose score is at least `threshold`, the best on top."""
    objects = [
        Drawn(int(track), f"{classes[label]} {track}", mask)
        for track, label, score, mask in zip(
            tracked.track_ids, tracked.labels, tracked.scores, tracked.masks, strict=True
        )
        if score >= threshold
    ]
    return draw_objects(pixels, objects[::-1], scale=enlargement(*pixels.shape[:2]))


def _updated(old: Figures, dropped: int, gaps: int, *, latency: float, seconds: float) -> Figures:
    weight = _RECENT if old.frames else 0.0
    rate = 1 / max(seconds, 1e-6)
    return Figures(
        old.frames + 1,
        dropped,
        weight * old.latency + (1 - weight) * latency,
        weight * old.rate + (1 - weight) * rate,
        gaps,
    )
