"""Video files through PyAV, whose wheel brings FFmpeg along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.system.files import write_aside

Frame = NDArray[np.uint8]

USUAL_RATE = 25.0  # of files that don't name theirs
_TOLERANCE = 2  # frames by which an announced duration may be off
_MEND = "check that the file plays, or copy it again"


class VideoFile:
    """An H.264 file (MPEG-4 where FFmpeg lacks x264) that takes one frame after another; see `video_file`."""

    def __init__(self, container: OutputContainer, *, rate: float, where: str) -> None:
        self._container, self._where = container, where
        self._codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        speed = Fraction(min(max(rate, 1.0), 240.0)).limit_denominator(1001)
        self._stream = cast(av.VideoStream, container.add_stream(self._codec, rate=speed))
        self.count = 0
        self.size = (0, 0)  # height and width of the frames

    def add(self, frame: Frame) -> None:
        """Encode the next frame [H, W, 3] RGB. Raises InvalidInput where its size is not the first one's."""
        if not self.count:
            self._begin(frame.shape[0], frame.shape[1])
        elif frame.shape[:2] != self.size:
            raise InvalidInput(
                f"frame {self.count} is {frame.shape[0]} x {frame.shape[1]}, "
                f"those before are {self.size[0]} x {self.size[1]}",
                where=self._where,
                fix="write frames of one size",
            )
        even = np.pad(frame, ((0, self.size[0] % 2), (0, self.size[1] % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        self._container.mux(self._stream.encode(picture))
        self.count += 1

    def finish(self) -> None:
        """Encode what still waits. Raises InvalidInput where there was no frame."""
        if not self.count:
            raise InvalidInput("a video without frames", where=self._where, fix="give at least one frame")
        self._container.mux(self._stream.encode(None))

    def _begin(self, height: int, width: int) -> None:
        self.size = (height, width)
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "18"} if self._codec == "libx264" else {"qscale": "3"}


@contextmanager
def video_file(path: Path, *, rate: float) -> Iterator[VideoFile]:
    """A video to be written frame by frame, `rate` a second; it appears whole at the end, or not at all.

    Odd sizes get a repeated last row or column, as the codec wants even ones.
    """
    with (
        write_aside(path) as aside,
        av.open(str(aside), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        file = VideoFile(container, rate=rate, where=str(path))
        yield file
        file.finish()


def write_video(path: Path, frames: Iterable[Frame], *, rate: float) -> int:
    """Write frames [H, W, 3] RGB of one size as `video_file` does; returns how many there were.

    Raises:
        InvalidInput: no frames, or a change of size.
    """
    with video_file(path, rate=rate) as file:
        for frame in frames:
            file.add(frame)
    return file.count


class VideoInfo(NamedTuple):
    """What a video file says of itself."""

    rate: float  # frames a second, on average
    frames: int | None  # None where the file does not say


def probe_video(path: Path) -> VideoInfo:
    """Open a video without decoding it. Raises as `read_video` does."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return VideoInfo(float(stream.average_rate or stream.guessed_rate or USUAL_RATE), stream.frames or None)


def read_video(path: Path) -> Iterator[Frame]:
    """Frames [H, W, 3] RGB of a video's first picture stream, one at a time, turned upright as its metadata says.

    Raises:
        Missing: no such file.
        Integrity: not a video, no picture stream, no frames, or cut short.
    """
    count = packets = 0

    def broken(why: object) -> Integrity:
        return Integrity(f"video cannot be read after frame {count}: {why}", where=str(path), fix=_MEND)

    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        end = 0.0  # seconds
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:  # decoding threads would pass over it
                    raise broken("it is cut short")
                packets += packet.size > 0
                end = max(end, _seconds(packet))
                for frame in packet.decode():
                    yield upright(frame)
                    count += 1
        except FFmpegError as error:
            raise broken(error) from None
        if "mp4" in container.format.name and packets < stream.frames:
            raise broken(f"it is cut short, of {stream.frames} frames {packets} are there")
        if count and end + _TOLERANCE * end / packets < (said := _announced(stream)):
            raise broken(f"it is cut short, of {said:.2f} seconds {end:.2f} are there")
    if not count:
        raise Integrity("a video without frames", where=str(path), fix=_MEND)


def _seconds(packet: av.Packet[av.VideoStream]) -> float:
    """When what is in a packet has been shown."""
    return float(((packet.pts or 0) + (packet.duration or 0)) * (packet.time_base or 0))


def _announced(stream: av.VideoStream) -> float:
    """Seconds that a Matroska or WebM file says its pictures last; 0 where it does not say."""
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


def upright(frame: av.VideoFrame) -> Frame:
    """[H, W, 3] RGB of a decoded frame, turned as its rotation says (degrees, counter-clockwise)."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), k=frame.rotation // 90))


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """A container that has a picture stream."""
    try:
        container = av.open(str(path))
    except FileNotFoundError:
        raise Missing("video not found", where=str(path), fix="name an existing file") from None
    except FFmpegError as error:
        raise Integrity(f"the file cannot be read as a video: {error}", where=str(path), fix=_MEND) from None
    with container:
        if not container.streams.video:
            raise Integrity("no video stream", where=str(path), fix="give a file with pictures")
        yield container
