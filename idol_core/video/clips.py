"""Clips that can be read repeatedly from the start: a video file, image files, a recorded camera."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from idol_core.data.dataset import Video
from idol_core.data.frames import FrameReader, count_pages, read_frame, read_pages
from idol_core.data.image_files import IMAGE_ENDINGS
from idol_core.errors import InvalidInput, Missing
from idol_core.video.files import Damage, OnDamage, TimedFrame, probe_video, read_timed_video
from idol_core.video.writer import video_file

STILL_RATE = 6.0  # frames per second assumed for image files, as YouTube-VIS is sampled


@dataclass(frozen=True)
class Clip:
    """Frames of one size, in order. Each call of `read` yields them from the start.

    `read` takes a function that is called for each damaged frame.
    """

    name: str
    read: Callable[[OnDamage], Iterator[TimedFrame]]
    rate: float  # frames a second, on average
    length: int | None = None  # frames, where that is known beforehand
    id: int = 1
    files: Sequence[Path] = ()  # image files of the frames, or the video file; (): recorded, or pages of one file
    hdr: str | None = None  # PQ or HLG for an HDR video, which is read as if it were of usual colors


def video_clip(path: Path) -> Clip:
    """A video file as a clip. Raises as `probe_video` does; reading it raises as `read_video` does."""
    info = probe_video(path)

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        return alike(read_timed_video(path, on_damage=on_damage), str(path))

    return Clip(path.stem, read, info.rate, info.frames, files=(path,), hdr=info.hdr)


def image_clip(paths: Sequence[Path], *, name: str, rate: float | None = None) -> Clip:
    """Image files as a clip, in the given order, at `rate` frames per second; any mode (alpha is dropped).

    A single file with several images (pages of a TIFF, an animated PNG or WebP) gives one frame each, timed as the
    file says if no rate is given. Reading raises as `read_frame` does.

    Raises Missing if there are no files.
    """
    if not paths:
        raise Missing("the clip has no frames", where=name, fix=f"give image files ({', '.join(IMAGE_ENDINGS)})")
    if len(paths) == 1 and (pages := count_pages(paths[0])) > 1:
        return _stack_clip(paths[0], pages, name=name, rate=rate)
    pace = rate or STILL_RATE

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        def frames() -> Iterator[TimedFrame]:
            for i, path in enumerate(paths):
                yield TimedFrame(read_frame(path, on_damage=_numbered(i, on_damage)), i / pace)

        return alike(frames(), str(paths[0].parent), names=[path.name for path in paths])

    return Clip(name, read, pace, len(paths), files=tuple(paths))


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
    """A video of a data set as a clip; its frames must have the size given in its annotation."""
    pace = rate or STILL_RATE

    def read(on_damage: OnDamage) -> Iterator[TimedFrame]:
        reader = FrameReader(keep=False)
        for i, name in enumerate(video.file_names):
            pixels = reader(name, video.height, video.width, on_damage=_numbered(i, on_damage))
            yield TimedFrame(pixels, i / pace)

    return Clip(f"video-{video.id}", read, pace, video.length, video.id, tuple(map(Path, video.file_names)))


def _numbered(frame: int, on_damage: OnDamage) -> Callable[[str], None]:
    """A warning function for the image file of this frame number, which passes on to `on_damage`."""
    return lambda what: on_damage(Damage(frame, what))


def recorded_clip(live: Callable[[], Iterator[TimedFrame]], *, name: str, rate: float, recording: Path) -> Clip:
    """A clip of live frames, such as a camera's: the first reading records them to `recording`, later ones read that.

    The recording is a compressed video: later readings give nearly the same pixels.
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


def alike(frames: Iterable[TimedFrame], where: str, *, names: Sequence[str] = ()) -> Iterator[TimedFrame]:
    """Yield the frames unchanged; raises InvalidInput if one differs in size from the first."""
    first: tuple[int, int] | None = None
    for i, frame in enumerate(frames):
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        first = first or size
        if size != first:
            called = f"frame {i}" + (f" ({names[i]})" if names else "")
            raise InvalidInput(
                f"{called} is {size[0]}x{size[1]}, the frames before it {first[0]}x{first[1]}",
                where=where,
                fix="give frames of each size a folder of their own"
                if names
                else "split the video where its resolution changes",
            )
        yield frame
