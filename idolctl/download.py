"""One file over HTTP(S): resumed over ranges, retried with growing pauses, never mistaken for a web page."""

from __future__ import annotations

import http.client
import random
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from idol_core.errors import IdolError, NetworkError

CHUNK = 1 << 18
RETRIES = 5
PAUSE = 0.5  # seconds before the first retry; doubles, with some chance
SPARE = 64 << 20  # bytes that stay free
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_DRIVE_QUOTA = re.compile(rb"quota exceeded|too many users have viewed|virus scan warning", re.IGNORECASE)

Progress = Callable[[int, int | None], None]


class _Cut(Exception):
    """A transfer that ended early; the next attempt goes on from there."""


def download(url: str, part: Path, *, timeout: float, progress: Progress, retries: int = RETRIES) -> None:
    """Bring `url` to `part`, going on behind what `part` holds already.

    Args:
        timeout: seconds without a byte after which an attempt ends.
        progress: called with (bytes there, bytes in all or None).

    Raises:
        NetworkError: not found, refused, a web page instead of a file, or still failing after `retries` retries.
        IdolError: the disk has not the room that the server announces.
    """
    reason: object = "no attempt"
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(min(30.0, PAUSE * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25))
        try:
            _attempt(url, part, timeout, progress)
            return
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # what is there does not fit what the server has now
                part.unlink(missing_ok=True)
            elif error.code not in _PASSING:
                raise NetworkError(f"the server says {reason}", where=url, fix="--mirror URL|DIR") from error
        except urllib.error.URLError as error:
            reason = error.reason
        except (_Cut, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = error or type(error).__name__
    what = f"the transfer failed {retries + 1} times, last: {reason}"
    raise NetworkError(what, where=url, fix="the same command resumes; or --mirror URL|DIR")


def _attempt(url: str, part: Path, timeout: float, progress: Progress) -> None:
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "idolctl", "Accept-Encoding": "identity"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        there, total = _position(response, there)
        _refuse_page(response.headers.get_content_type(), b"", url)
        _require_room(part, None if total is None else total - there)
        with open(part, "r+b" if there else "wb") as file:
            file.seek(there)
            file.truncate()
            _copy(response, file, there, total, url, progress)


def _position(response: Any, there: int) -> tuple[int, int | None]:
    """Where the body begins, and the size of the whole file if it is told."""
    if response.status == 206:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if told is None or int(told[1]) != there:
            raise _Cut("the server answered with another range than asked for")
        return there, None if told[2] == "*" else int(told[2])
    length = response.headers.get("Content-Length")
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
    if total is not None and there < total:
        raise _Cut(f"cut after {there} of {total} bytes")


def _refuse_page(content_type: str, start: bytes, url: str) -> None:
    if content_type == "text/html" or start.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise web_page(start, url)


def web_page(content: bytes, where: str) -> NetworkError:
    """The error of a page that came instead of a file; Google Drive's quota page is named as such."""
    quota = bool(_DRIVE_QUOTA.search(content))
    why = (
        "Google Drive's quota for this file is used up" if quota else "it is a web page (a login, quota or error page?)"
    )
    return NetworkError(f"no file came: {why}", where=where, fix="try again tomorrow, or --mirror URL|DIR")


def _require_room(part: Path, needed: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed is not None and needed + SPARE > free:
        what = f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise IdolError(what, where=str(part.parent), fix="make room, or set IDOLCTL_CACHE to another disk")
