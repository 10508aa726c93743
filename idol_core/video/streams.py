"""Read live video from the network through PyAV: RTSP, RTMP, HTTP (MJPEG, HLS, MPEG-TS)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError

from idol_core.data.frames import MAX_PIXELS
from idol_core.errors import Integrity, NetworkError
from idol_core.video.clock import FrameClock
from idol_core.video.colors import upright
from idol_core.video.files import USUAL_RATE, TimedFrame

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https")
TIMEOUT = 10.0  # seconds without data
# A playlist may name other addresses: none of them is a file of this machine.
_PROTOCOLS = "rtsp,rtsps,rtmp,rtmps,http,https,tcp,udp,rtp,srtp,tls,crypto"
_LOW_DELAY = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "1000000"}


class BrokenFile(NetworkError):
    """A file on a server broke off: connecting again would read it from its start."""


def is_stream(source: str) -> bool:
    """Whether a text is the address of a network stream."""
    scheme, found, _ = source.partition("://")
    return bool(found) and scheme.lower() in SCHEMES


def hidden(url: str) -> str:
    """The address without user name, password and query, to be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_stream(
    url: str, *, stop: Callable[[], bool], timeout: float = TIMEOUT, low_delay: bool = False
) -> Iterator[TimedFrame]:
    """Yield the frames of a network stream as they arrive, until `stop` returns true or the stream ends.

    A stream of unknown length, as of a camera, has no end: when the server closes the connection, it has broken off.
    Only an HTTP answer in chunks has an end of its own, which a file may have that is sent while it is made.

    `low_delay` leaves out the frames that came while the stream was examined, so that it begins at the present.

    Raises NetworkError if it can't be opened, sends nothing for `timeout` seconds or breaks off (BrokenFile if its
    length is known), Integrity if it is no video or its frames are over MAX_PIXELS.
    """
    where = hidden(url)
    options = {"protocol_whitelist": _PROTOCOLS, "rtsp_transport": "tcp", **(_LOW_DELAY if low_delay else {})}
    try:
        container = av.open(url, options=options, timeout=(timeout, timeout), metadata_errors="replace")
    except FFmpegError as error:
        fix = "check the address and that the camera or server is on"
        why = f"nothing came for {timeout:g} s" if isinstance(error, ExitError) else error.strerror
        raise NetworkError(f"the stream can't be opened: {why}", where=where, fix=fix) from None
    except ValueError as error:
        raise NetworkError(f"the stream can't be opened: {error}", where=where, fix="check the address") from None
    with container:
        video = next((s for s in container.streams.video if s.codec_context is not None), None)
        if video is None:
            raise Integrity("the stream has no video", where=where, fix="name the address of the video")
        video.thread_type = "SLICE"  # frame threads would hold frames back
        video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        clock = FrameClock(1 / float(video.average_rate or USUAL_RATE))
        try:
            for frame in _decoded(container, video):
                yield TimedFrame(upright(frame), clock(frame.time))
                if stop():
                    return
        except FFmpegError as error:
            why = f"nothing came for {timeout:g} s" if isinstance(error, ExitError) else error.strerror or str(error)
            raise _broken(why, container) from None
        if _is_endless(container):
            raise _broken("the connection was closed", container)


def _broken(why: str, container: InputContainer) -> NetworkError:
    where = hidden(container.name)
    if _has_length(container):
        return BrokenFile(f"the file broke off: {why}", where=where, fix="download it and name the file, or try again")
    fix = "run it again; look at the network and the camera"
    return NetworkError(f"the stream broke off: {why}", where=where, fix=fix)


def _is_endless(container: InputContainer) -> bool:
    """Whether a stream has no end, as a camera's: no length, no playlist, and it is no HTTP answer in chunks."""
    if _has_length(container) or container.format.name in ("hls", "dash"):
        return False
    return not container.name.lower().startswith("http") or container.format.name == "mpjpeg"


def _has_length(container: InputContainer) -> bool:
    """Whether the length in seconds or bytes is known, as of a file."""
    return container.duration is not None or container.size > 0


def _decoded(container: InputContainer, video: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decode to the end. If reading fails, the frames that the decoder still holds come before the error."""
    try:
        yield from container.decode(video)
    except FFmpegError as error:
        with contextlib.suppress(FFmpegError):
            for frame in video.codec_context.decode(None):
                frame.time_base = video.time_base  # otherwise its time is not a number
                yield frame
        if error.errno == errno.EIO and container.name.lower().startswith("http"):  # closed, the length unannounced
            raise _broken("the connection was closed", container) from None
        raise
