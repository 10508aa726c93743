"""Read video files through PyAV, whose wheel includes FFmpeg."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import ColorTrc

from idol_core.data.frames import MAX_PIXELS, jpeg_damage
from idol_core.errors import Integrity, Missing
from idol_core.video.clock import FrameClock
from idol_core.video.colors import Frame, upright

USUAL_RATE = 25.0  # frames per second of files that don't name their rate
_TEXT = ("tty", "bin", "xbin", "adf", "idf")  # FFmpeg's text formats: it would render any text file as a video
_HDR: dict[int, str] = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
_NO_TIMESTAMPS = 0x80  # flag of FFmpeg's formats
_TOLERANCE = 2  # frames by which an announced duration may be off
_MEND = "check that the file plays, or copy it again"


class TimedFrame(NamedTuple):
    """A frame and when it is shown."""

    pixels: Frame  # [H, W, 3] RGB
    seconds: float  # since the first frame


class Damage(NamedTuple):
    """A damaged frame of a clip: one that is used all the same, or one that is left out."""

    frame: int  # frame number from 0; for a frame that is left out, the number of the next
    what: str


OnDamage = Callable[[Damage], None]


def unheard(_: Damage) -> None:
    """Ignore damage."""


class VideoInfo(NamedTuple):
    """Frame rate, number of frames and kind of colors from a video file's header."""

    rate: float  # frames a second, on average
    frames: int | None  # None where the file does not say
    hdr: str | None = None  # name of its transfer function, PQ or HLG, which is read as if it were of usual video


def probe_video(path: Path) -> VideoInfo:
    """Open a video without decoding it. Raises as `read_video` does."""
    with _opened(path) as (container, stream):
        hdr = _HDR.get(stream.codec_context.color_trc)
        return VideoInfo(_rate(container, stream), stream.frames or None, hdr)


def read_video(path: Path) -> Iterator[Frame]:
    """Yield the frames [H, W, 3] RGB of `read_timed_video`, without their times."""
    return (frame.pixels for frame in read_timed_video(path))


def read_timed_video(path: Path, *, on_damage: OnDamage = unheard) -> Iterator[TimedFrame]:
    """Yield the frames of a video file with their times, rotated and mirrored as its metadata says.

    Damaged frames are yielded as far as they could be decoded.

    Args:
        on_damage: called for a damaged frame before it is yielded, and for one that can't be decoded at all.

    Raises:
        Missing: no such file.
        Integrity: not a video, no video stream, no frames, cut short, or frames of over MAX_PIXELS.
    """
    given = 0
    try:
        for frame in _decode(path, on_damage, in_frame_threads=True):
            yield frame
            given += 1
        return
    except _Undecodable:  # frames decoded in parallel with it may be lost: continue without frame threads
        pass

    def later(damage: Damage) -> None:
        if damage.frame >= given:
            on_damage(damage)

    yield from itertools.islice(_decode(path, later, in_frame_threads=False), given, None)


class _Undecodable(Exception):
    """A packet could not be decoded."""


def _decode(path: Path, on_damage: OnDamage, *, in_frame_threads: bool) -> Iterator[TimedFrame]:
    """Decode all frames. What can't be decoded raises _Undecodable with frame threads, else it is skipped."""
    count = packets = 0
    last_read = last_shown = end = 0.0  # seconds
    failure: FFmpegError | None = None
    torn = False  # whether the last packet that was read is corrupt

    def broken(why: object) -> Integrity:
        return Integrity(f"video cannot be read after frame {count}: {why}", where=str(path), fix=_MEND)

    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO" if in_frame_threads else "SLICE"
        clock = FrameClock(1 / _rate(container, stream))
        corrupt: set[int | None] = set()  # times of packets that came with errors
        in_order: deque[float] | None = deque() if container.format.name == "avi" else None  # AVI has no timestamps
        try:
            for packet in container.demux(stream):
                if not packet.size and packet.dts is not None:  # the decoder would take it for the end
                    continue
                if packet.size:
                    packets, torn, end = packets + 1, packet.is_corrupt, max(end, _end(packet))
                    if torn or (stream.codec_context.name == "mjpeg" and jpeg_damage(bytes(packet))):
                        corrupt.add(packet.pts)
                    if not packet.is_discard:
                        last_read = max(last_read, float((packet.pts or 0) * (packet.time_base or 0)))
                    if in_order is not None:
                        in_order.append(float((packet.dts or 0) * (packet.time_base or 0)))
                try:
                    frames = packet.decode()
                except MemoryError:
                    raise
                except FFmpegError as error:
                    if in_frame_threads:
                        raise _Undecodable from None
                    failure = error
                    if in_order:
                        in_order.pop()
                    on_damage(Damage(count, "could not be decoded, left out before"))
                    continue
                for frame in frames:
                    if frame.width * frame.height > MAX_PIXELS:
                        raise _too_large(path, frame.width, frame.height)
                    if frame.is_corrupt or (frame.pts is not None and frame.pts in corrupt):
                        on_damage(Damage(count, "damaged, and perhaps what follows up to the next key frame"))
                    last_shown = max(last_shown, frame.time or 0.0)
                    shown = (in_order.popleft() if in_order else None) if in_order is not None else frame.time
                    yield TimedFrame(upright(frame), clock(shown))
                    count += 1
        except FFmpegError as error:
            raise broken(error) from None
        if torn:  # never set for transport streams, whose recordings begin and end anywhere
            raise broken("it is cut short")
        if "mp4" in container.format.name and packets < (listed := len(stream.index_entries)):
            raise broken(f"it is cut short: {packets} of {listed} frames are there")
        if count and end + _TOLERANCE * end / packets < (said := _announced(stream)):
            raise broken(f"it is cut short: {end:.2f} of {said:.2f} seconds are there")
        if in_frame_threads and last_shown < last_read:  # frame threads don't report errors in the last frames
            raise _Undecodable
    if not count:
        what = f"no frame can be decoded: {failure}" if failure else "the video has no frames"
        raise Integrity(what, where=str(path), fix=_MEND)


def _end(packet: av.Packet[av.VideoStream]) -> float:
    """Time at which a packet's frame ends, in seconds."""
    return float(((packet.pts or 0) + (packet.duration or 0)) * (packet.time_base or 0))


def _announced(stream: av.VideoStream) -> float:
    """Duration of the video stream in seconds as a Matroska or WebM file states it; 0 if it does not."""
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


def _rate(container: InputContainer, stream: av.VideoStream) -> float:
    """Average frames per second; for raw streams, which have no timestamps, the rate that their encoder wrote."""
    bare = container.format.flags & _NO_TIMESTAMPS
    rates = (stream.guessed_rate, stream.average_rate) if bare else (stream.average_rate, stream.guessed_rate)
    return float(rates[0] or rates[1] or USUAL_RATE)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """Open a container and its video stream: the default one, else the first; attached pictures don't count.

    A still picture (as in image sequences of phones) only counts if there is no other video.
    """
    if path.exists() and not path.is_file():
        raise Integrity("not a regular file", where=str(path), fix="name a video file")
    try:
        container = av.open(url_of(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except FileNotFoundError:
        raise Missing("video not found", where=str(path), fix="name an existing file") from None
    except FFmpegError as error:
        raise Integrity(f"the file cannot be read as a video: {error}", where=str(path), fix=_MEND) from None
    with container:
        pictures = Disposition.attached_pic | Disposition.timed_thumbnails
        films = [stream for stream in container.streams.video if not stream.disposition & pictures]
        if not films or container.format.name in _TEXT:
            raise Integrity("no video stream", where=str(path), fix="give a file that contains video")
        films = [stream for stream in films if stream.codec_context is not None]
        if not films:
            what = "FFmpeg has no decoder for the pictures of this file"
            raise Integrity(what, where=str(path), fix="convert it to H.264 where it plays")
        if any(stream.disposition & Disposition.dependent and stream.frames == 1 for stream in films):
            what = "the picture is stored in tiles, as phones write HEIC, which can't be put together here"
            raise Integrity(what, where=str(path), fix="save it as JPEG or PNG, and name that file")
        films = [stream for stream in films if stream.frames != 1] or films
        film = next((stream for stream in films if stream.disposition & Disposition.default), films[0])
        if film.width * film.height > MAX_PIXELS:
            raise _too_large(path, film.width, film.height)
        film.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, film


def url_of(path: Path) -> str:
    """A path as a URL for FFmpeg, which would read anything before a colon as a protocol."""
    return f"file:{path}"


def _too_large(path: Path, width: int, height: int) -> Integrity:
    what = f"frames of {width} x {height} are larger than {MAX_PIXELS:,} pixels"
    return Integrity(what, where=str(path), fix="make the video smaller")
