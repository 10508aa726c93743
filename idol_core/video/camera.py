"""Read frames from a camera (Video4Linux) through PyAV."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
from av.error import FFmpegError

from idol_core.errors import Missing
from idol_core.video.clock import FrameClock
from idol_core.video.colors import upright
from idol_core.video.files import USUAL_RATE, TimedFrame


def read_camera(number: int, *, stop: Callable[[], bool]) -> Iterator[TimedFrame]:
    """Yield live frames of camera `number` (/dev/videoN) until `stop` returns true or the camera ends.

    Times are from the camera's clock: many cameras give fewer frames than their nominal rate, above all in the dark.

    Raises Missing if there is no such camera or it can't be opened.
    """
    device = camera_device(number)
    try:
        with av.open(str(device), format="video4linux2") as container:
            clock = FrameClock(1 / float(container.streams.video[0].average_rate or USUAL_RATE))
            for frame in container.decode(video=0):
                yield TimedFrame(upright(frame), clock(frame.time))
                if stop():
                    return
    except FFmpegError as error:
        raise _unreadable(number, device, error) from None


def camera_rate(number: int) -> float:
    """Nominal frame rate of the camera, in frames per second. Raises as `read_camera`."""
    device = camera_device(number)
    try:
        with av.open(str(device), format="video4linux2") as container:
            return float(container.streams.video[0].average_rate or USUAL_RATE)
    except (FFmpegError, IndexError) as error:
        raise _unreadable(number, device, error) from None


def camera_device(number: int) -> Path:
    """The device file of a camera. If it does not exist, raises Missing with the cameras that do."""
    device = Path(f"/dev/video{number}")
    if device.exists():
        return device
    there = sorted(int(p.name.removeprefix("video")) for p in Path("/dev").glob("video*") if p.name[5:].isdigit())
    fix = f"idolctl predict camera:{there[0]}" if there else "plug one in, or name a video file or a folder of frames"
    system = "" if sys.platform == "linux" else "; cameras are read through Video4Linux, which this system lacks"
    raise Missing(f"there is no camera {number}{system}", where=str(device), fix=fix)


def _unreadable(number: int, device: Path, error: Exception) -> Missing:
    fix = "close what else uses it, or name a video file or a folder of frames"
    return Missing(f"camera {number} cannot be read: {error}", where=str(device), fix=fix)
