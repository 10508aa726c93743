"""What can be looked at from its first frame on, more than once: a video file, image files, a recording of a camera."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from idol_core.data.dataset import Video
from idol_core.data.frames import FrameReader, read_frame
from idol_core.errors import InvalidInput, Missing
from idol_core.video.files import probe_video, read_video, video_file

Frame = NDArray[np.uint8]

STILL_RATE = 6.0  # frames a second of clips that are image files, as YouTube-VIS samples them
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Clip:
    """Frames of one size, in order. `read` gives them from the first on, each time it is called."""

    name: str
    read: Callable[[], Iterator[Frame]]  # [H, W, 3] uint8 RGB each
    rate: float  # frames a second
    length: int | None = None  # frames, where that is known beforehand
    id: int = 1


def video_clip(path: Path) -> Clip:
    """A video file. Raises Missing or Integrity as `probe_video` does; reading it, as `read_video` does."""
    info = probe_video(path)
    return Clip(path.stem, lambda: alike(read_video(path), str(path)), info.rate, info.frames)


def image_clip(paths: Sequence[Path], *, name: str) -> Clip:
    """Image files in the given order, of any mode (an alpha channel is dropped). Reading raises as `read_frame` does.

    Raises Missing where there are none.
    """
    if not paths:
        raise Missing("no frames", where=name, fix=f"give image files ({', '.join(IMAGE_ENDINGS)})")

    def read() -> Iterator[Frame]:
        return alike(map(read_frame, paths), str(paths[0].parent), names=[path.name for path in paths])

    return Clip(name, read, STILL_RATE, len(paths))


def labelled_clip(video: Video) -> Clip:
    """A video of a data set; its frames must have the size that its annotation says."""

    def read() -> Iterator[Frame]:
        reader = FrameReader(keep=False)
        return (reader(name, video.height, video.width) for name in video.file_names)

    return Clip(f"video-{video.id}", read, STILL_RATE, video.length, video.id)


def recorded_clip(live: Callable[[], Iterator[Frame]], *, name: str, rate: float, recording: Path) -> Clip:
    """Frames that come only once, such as a camera's: the first reading writes them to `recording`, later ones read it.

    The recording is a video: later readings give nearly the same pixels.
    """

    def read() -> Iterator[Frame]:
        return again() if recording.is_file() else first()

    size: list[int] = []

    def first() -> Iterator[Frame]:
        with video_file(recording, rate=rate) as file:
            for frame in alike(live(), name):
                file.add(frame)
                yield frame
            size[:] = file.size

    def again() -> Iterator[Frame]:
        return (frame[: size[0], : size[1]] for frame in read_video(recording))

    return Clip(name, read, rate)


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, frame2 before frame10."""
    return in_order(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by name, the numbers in them by value."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", str(path))
        return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]

    return sorted(paths, key=key)


def alike(frames: Iterable[Frame], where: str, *, names: Sequence[str] = ()) -> Iterator[Frame]:
    """The frames; raises InvalidInput where one has not the first one's size."""
    first: tuple[int, int] | None = None
    for i, frame in enumerate(frames):
        size = (frame.shape[1], frame.shape[0])
        first = first or size
        if size != first:
            called = f"frame {i}" + (f" ({names[i]})" if names else "")
            raise InvalidInput(
                f"{called} is {size[0]}x{size[1]}, the frames before it {first[0]}x{first[1]}",
                where=where,
                fix="split the video where its resolution changes",
            )
        yield frame
