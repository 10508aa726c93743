"""Download one file over HTTP(S): resume, retry with growing pauses, refuse web pages sent in its place."""

from __future__ import annotations

import http.client
import random
import re
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from idol_core.errors import IdolError, NetworkError
from idol_core.system.stand_ins import is_web_page

CHUNK = 1 << 18
RETRIES = 5
PAUSE = 0.5  # seconds before the first retry; doubles each time, with random jitter
SPARE = 64 << 20  # bytes of disk space to leave free
LARGEST = 1 << 36  # upper limit in bytes, far above any file of the zoo
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_DRIVE_QUOTA = re.compile(rb"quota exceeded|too many users have viewed", re.IGNORECASE)

_MIRROR = "--mirror URL|DIR"

Progress = Callable[[int, int | None], None]
Say = Callable[[str], None]
Opener = Callable[..., Any]  # urllib.request.urlopen, or one like it


def say_on_stderr(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr, flush=True)


class TransientError(Exception):
    """A failure that is worth a retry: a cut connection, a busy server."""


def download(
    url: str,
    part: Path,
    *,
    timeout: float,
    progress: Progress,
    retries: int = RETRIES,
    say: Say = say_on_stderr,
    open_url: Opener = urllib.request.urlopen,
) -> None:
    """Download `url` to the file `part`; bytes that are already in `part` are not downloaded again.

    Args:
        timeout: seconds without data after which an attempt fails.
        progress: called with (bytes so far, total bytes or None if unknown).
        say: called with a line on each retry.
        open_url: sends a request, as urllib.request.urlopen does.

    Raises:
        NetworkError: not found, refused, a web page instead of a file, or still failing after `retries` retries.
        IdolError: too little disk space for the size that the server announces.
    """

    def attempt() -> None:
        try:
            _attempt(url, part, timeout, progress, open_url)
        except urllib.error.HTTPError as error:
            said = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # range not satisfiable: the partial file does not match the server's file
                part.unlink(missing_ok=True)
            elif not passes(error.code):
                raise NetworkError(f"the server says {said}", where=url, fix="--mirror URL|DIR") from error
            raise TransientError(said) from error
        except urllib.error.URLError as error:
            unknown_host(error, url)
            raise TransientError(error.reason) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise TransientError(str(error) or type(error).__name__) from error
        except ValueError as error:  # a redirect to what is no address
            raise NetworkError(f"the server's answer is not understood: {error}", where=url, fix=_MIRROR) from error

    retry(attempt, where=url, retries=retries, say=say)


def retry(attempt: Callable[[], None], *, where: str, retries: int = RETRIES, say: Say = say_on_stderr) -> None:
    """Call `attempt`; after each TransientError retry, up to `retries` times.

    Each retry is reported and preceded by a longer pause. Raises NetworkError after the last one.
    """
    for left in range(retries, -1, -1):
        try:
            attempt()
            return
        except TransientError as error:
            reason = error
        if left:
            pause = min(30.0, PAUSE * 2 ** (retries - left)) * random.uniform(0.75, 1.25)
            say(f"{where}: {reason}; retrying in {pause:.1f} s ({left} tries left)")
            time.sleep(pause)
    what = f"the transfer failed {retries + 1} times, last: {reason}"
    fix = "run the same command again to resume; or --mirror URL|DIR"
    raise NetworkError(what, where=where, fix=fix, transient=True)


def passes(status: int) -> bool:
    """Whether an HTTP status is temporary, so that a retry makes sense."""
    return status in _PASSING


def unknown_host(error: BaseException, where: str) -> None:
    """Raise NetworkError if `error` was caused by a host name that can't be resolved, mostly for lack of a network."""
    inner: object = error
    while inner is not None:
        if isinstance(inner, socket.gaierror) and inner.errno == socket.EAI_NONAME:
            what = "the server's name could not be resolved; is there a network connection?"
            raise NetworkError(what, where=where, fix="--mirror URL|DIR", transient=True) from error
        inner = _inner(inner)


def innermost(error: BaseException) -> str:
    """Message of the root cause of a nested error, at most 100 characters."""
    deepest: object = error
    while (inner := _inner(deepest)) is not None:
        deepest = inner
    return " ".join(str(deepest).split())[:100] or type(deepest).__name__


def _inner(error: object) -> object:
    within = (getattr(error, "reason", None), *getattr(error, "args", ()), getattr(error, "__cause__", None))
    return next((e for e in within if isinstance(e, BaseException)), None)


def _attempt(url: str, part: Path, timeout: float, progress: Progress, open_url: Opener) -> None:
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "idolctl", "Accept-Encoding": "identity"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    with open_url(request, timeout=timeout) as response:
        there, total = _position(response, there)
        _refuse_page(response.headers.get_content_type(), b"", url)
        require_room(part, None if total is None else total - there)
        with open(part, "r+b" if there else "wb") as file:
            file.seek(there)
            file.truncate()
            _copy(response, file, there, total, url, progress)


def _position(response: Any, there: int) -> tuple[int, int | None]:
    """Offset at which the response body starts, and the size of the whole file (None if not given).

    Raises TransientError for another range than asked for, NetworkError for a size that is not a number.
    """
    if response.status == 206:
        told = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
        if told is None or int(told[1]) != there:
            raise TransientError("the server sent another byte range than requested")
        return there, None if told[2] == "*" else int(told[2])
    length = response.headers.get("Content-Length")
    if length and not re.fullmatch(r"[0-9]{1,18}", length):
        what = f"the server announces a file of '{length[:40]}' bytes"
        raise NetworkError(what, where=response.url, fix="--mirror URL|DIR")
    return 0, int(length) if length else None


def _copy(response: Any, file: IO[bytes], there: int, total: int | None, url: str, progress: Progress) -> None:
    progress(there, total)
    first = there == 0
    while chunk := response.read1(CHUNK):
        if first:
            _refuse_page("", chunk, url)
            first = False
        file.write(chunk)
        there += len(chunk)
        progress(there, total)
        if there > (LARGEST if total is None else total):
            what = f"the server sends more than {LARGEST if total is None else total} bytes"
            raise NetworkError(what, where=url, fix="--mirror URL|DIR")
        if total is None:
            require_room(Path(file.name), CHUNK)
    if total is not None and there < total:
        raise TransientError(f"connection closed after {there} of {total} bytes")


def _refuse_page(content_type: str, start: bytes, url: str) -> None:
    if content_type == "text/html" or is_web_page(start):
        raise web_page(start, url)


def web_page(content: bytes, where: str) -> NetworkError:
    """Make the error for a web page received in place of a file; it names Google Drive's quota page as such."""
    quota = bool(_DRIVE_QUOTA.search(content))
    why = (
        "Google Drive's quota for this file is used up" if quota else "it is a web page (a login, quota or error page?)"
    )
    return NetworkError(f"the server sent no file: {why}", where=where, fix="try again tomorrow, or --mirror URL|DIR")


def require_room(part: Path, needed: int | None) -> None:
    """Raise IdolError if the disk of `part` has less than `needed` + SPARE bytes free (None: no check)."""
    free = shutil.disk_usage(part.parent).free
    if needed is not None and needed + SPARE > free:
        what = f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise IdolError(what, where=str(part.parent), fix="make room, or set IDOLCTL_CACHE to another disk")
