"""Write video files through PyAV; a file appears only once it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer

from idol_core.errors import InvalidInput
from idol_core.system.files import write_aside
from idol_core.video.colors import Frame, encodable, tag_colors
from idol_core.video.files import url_of

_MOST_SIDE = 16384  # pixels; x264 takes no more
_TICKS = 60000  # clock ticks per second; MPEG-4 allows at most 65535


class VideoFile:
    """An H.264 file (MPEG-4 where FFmpeg lacks x264) that takes one frame after another; see `video_file`."""

    def __init__(self, container: OutputContainer, *, rate: float, where: str) -> None:
        self._container, self._where = container, where
        self._codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._rate = _fraction(rate)
        self._stream = cast(av.VideoStream, container.add_stream(self._codec, rate=self._rate))
        self._tick = Fraction(1, self._rate.numerator * max(1, _TICKS // self._rate.numerator))
        self._shown = -1  # time of the last frame, in ticks
        self.count = 0
        self.size = (0, 0)  # height and width of the frames

    def add(self, frame: Frame, seconds: float | None = None) -> None:
        """Encode the next frame [H, W, 3] RGB, to be shown at `seconds`; by default, as the frame rate says.

        Raises InvalidInput if its size differs from the first frame's, or is too large for a video.
        """
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
        picture = encodable(even)
        time = self.count / self._rate if seconds is None else seconds
        self._shown = max(round(time / self._tick), self._shown + 1)
        picture.pts, picture.time_base = self._shown, self._tick
        picture.duration = round(1 / self._rate / self._tick)
        self._container.mux(self._stream.encode(picture))
        self.count += 1

    def finish(self) -> None:
        """Flush the encoder. Raises InvalidInput if there was no frame."""
        if not self.count:
            raise InvalidInput("the video has no frames", where=self._where, fix="give at least one frame")
        self._container.mux(self._stream.encode(None))

    def _begin(self, height: int, width: int) -> None:
        if max(height, width) > _MOST_SIDE:
            what = f"frames of {width}x{height} are too large for a video: at most {_MOST_SIDE} pixels a side"
            raise InvalidInput(what, where=self._where, fix="make them smaller, or leave the video out")
        self.size = (height, width)
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._tick
        tag_colors(self._stream.codec_context, self._stream.height, self._stream.width)
        self._stream.options = {"crf": "18"} if self._codec == "libx264" else {"qscale": "3"}


def _fraction(rate: float) -> Fraction:
    """The rate as an exact fraction, such as 24000/1001 for 23.976 and 1/5 for 0.2."""
    if rate < 1:
        return 1 / Fraction(1 / rate).limit_denominator(1001)
    return Fraction(rate).limit_denominator(1001)


@contextmanager
def video_file(path: Path, *, rate: float) -> Iterator[VideoFile]:
    """Write a video frame by frame, at `rate` frames per second or at times given with the frames.

    The file appears only once it is complete. For odd sizes the last row or column is repeated, as the codec needs even
    ones.
    """
    with (
        write_aside(path) as aside,
        av.open(url_of(aside), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        file = VideoFile(container, rate=rate, where=str(path))
        yield file
        file.finish()


def write_video(path: Path, frames: Iterable[Frame], *, rate: float) -> int:
    """Write frames [H, W, 3] RGB of one size as `video_file` does; returns their number.

    Raises:
        InvalidInput: no frames, or a change of size.
    """
    with video_file(path, rate=rate) as file:
        for frame in frames:
            file.add(frame)
    return file.count
