"""Clips that can be read repeatedly from the start: a video file, image files, a recorded camera."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from idol_core.data.dataset import Video
from idol_core.data.frames import FrameReader, count_pages, read_frame, read_pages
from idol_core.errors import InvalidInput, Missing
from idol_core.video.files import Damage, OnDamage, TimedFrame, probe_video, read_timed_video
from idol_core.video.writer import video_file

STILL_RATE = 6.0  # frames a second of clips that are image files, as YouTube-VIS samples them
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Clip:
    """Frames of one size, in order. `read` gives them from the first on, each time it is called.

    It takes a function that is told of damaged frames.
    """

    name: str
    read: Callable[[OnDamage], Iterator[TimedFrame]]
    rate: float  # frames a second, on average
    length: int | None = None  # frames, where that is known beforehand
    id: int = 1


def video_clip(path: Path) -> Clip:
    """A video file. Raises Missing or Integrity as `probe_video` does; reading it, as `read_video` does."""
    info = probe_video(path)

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        return alike(read_timed_video(path, on_damage=on_damage), str(path))

    return Clip(path.stem, read, info.rate, info.frames)


def image_clip(paths: Sequence[Path], *, name: str, rate: float | None = None) -> Clip:
    """Image files in the given order, of any mode (an alpha channel is dropped), `rate` a second.

    The pictures of a single file that has several (pages of a TIFF, an animated PNG or WebP) are frames, shown as long
    as it says where no rate is given. Reading raises as `read_frame` does.

    Raises Missing where there are none.
    """
    if not paths:
        raise Missing("no frames", where=name, fix=f"give image files ({', '.join(IMAGE_ENDINGS)})")
    if len(paths) == 1 and (pages := count_pages(paths[0])) > 1:
        return _stack_clip(paths[0], pages, name=name, rate=rate)
    pace = rate or STILL_RATE

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        def frames() -> Iterator[TimedFrame]:
            for i, path in enumerate(paths):
                yield TimedFrame(read_frame(path, on_damage=_numbered(i, on_damage)), i / pace)

        return alike(frames(), str(paths[0].parent), names=[path.name for path in paths])

    return Clip(name, read, pace, len(paths))


def _stack_clip(path: Path, pages: int, *, name: str, rate: float | None) -> Clip:
    pace = rate or STILL_RATE

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        def frames() -> Iterator[TimedFrame]:
            shown = 0.0
            for i, (pixels, seconds) in enumerate(read_pages(path, on_damage=_numbered(0, on_damage))):
                yield TimedFrame(pixels, shown if rate is None else i / rate)
                shown += seconds or 1 / STILL_RATE

        return alike(frames(), str(path))

    return Clip(name, read, pace, pages)


def labelled_clip(video: Video, *, rate: float | None = None) -> Clip:
    """A video of a data set; its frames must have the size that its annotation says."""
    pace = rate or STILL_RATE

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        reader = FrameReader(keep=False)
        for i, name in enumerate(video.file_names):
            pixels = reader(name, video.height, video.width, on_damage=_numbered(i, on_damage))
            yield TimedFrame(pixels, i / pace)

    return Clip(f"video-{video.id}", read, pace, video.length, video.id)


def _numbered(frame: int, on_damage: OnDamage) -> Callable[[str], None]:
    """Of one image file."""
    return lambda what: on_damage(Damage(frame, what))


def recorded_clip(live: Callable[[], Iterator[TimedFrame]], *, name: str, rate: float, recording: Path) -> Clip:
    """Frames that come only once, such as a camera's: the first reading writes them to `recording`, later ones read it.

    The recording is a video: later readings give nearly the same pixels.
    """

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        return again(on_damage) if recording.is_file() else first()

    size: list[int] = []

    def first() -> Iterator[TimedFrame]:
        with video_file(recording, rate=rate) as file:
            for frame in alike(live(), name):
                file.add(frame.pixels, frame.seconds)
                yield frame
            size[:] = file.size

    def again(on_damage: OnDamage) -> Iterator[TimedFrame]:
        for frame in read_timed_video(recording, on_damage=on_damage):
            yield TimedFrame(frame.pixels[: size[0], : size[1]], frame.seconds)

    return Clip(name, read, rate)


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, frame2 before frame10, without hidden ones (`._0.jpg` beside 0.jpg, from a Mac)."""
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return in_order(path for path in visible if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by name, the numbers in them by value."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", str(path))
        return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]

    return sorted(paths, key=key)


def alike(frames: Iterable[TimedFrame], where: str, *, names: Sequence[str] = ()) -> Iterator[TimedFrame]:
    """The frames; raises InvalidInput where one has not the first one's size."""
    first: tuple[int, int] | None = None
    for i, frame in enumerate(frames):
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        first = first or size
        if size != first:
            called = f"frame {i}" + (f" ({names[i]})" if names else "")
            raise InvalidInput(
                f"{called} is {size[0]}x{size[1]}, the frames before it {first[0]}x{first[1]}",
                where=where,
                fix="split the video where its resolution changes",
            )
        yield frame
