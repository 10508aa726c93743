"""Temporary files of downloads: private to a process, continued by another once that process has ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from idolctl.terminal.progress import say

STALE_SECONDS = 600.0  # a file of another machine that nobody has written to for so long
_OWNER = re.compile(r"\..+\.[0-9a-f]{8}\.(?P<host>.+)-(?P<pid>\d+)\.part(\.\w+){0,2}")  # gdown adds an ending


@contextlib.contextmanager
def one_at_a_time(lock: Path, name: str) -> Iterator[None]:
    """Hold a lock file; where another process holds it, say so and wait."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        say(f"{name}: another process is fetching it; waiting for that")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def private_part(final: Path, source: str) -> Path:
    """The temporary file in which this process brings `source` to `final`.

    Locks are best effort on network file systems, so no two processes ever share one. What an ended process left of the
    same source is taken over, so that its transfer goes on.
    """
    tag = hashlib.sha256(source.encode()).hexdigest()[:8]
    mine = final.with_name(f".{final.stem}.{tag}.{socket.gethostname()}-{os.getpid()}.part{final.suffix}")
    for left in final.parent.glob(f".{final.stem}.{tag}.*.part{final.suffix}*"):
        if left != mine and _is_abandoned(left):
            with contextlib.suppress(FileNotFoundError):
                left.replace(mine)
    return mine


def _is_abandoned(part: Path) -> bool:
    owner = _OWNER.fullmatch(part.name)
    if owner and owner["host"] == socket.gethostname():
        return not _is_alive(int(owner["pid"]))
    with contextlib.suppress(FileNotFoundError):
        return time.time() - part.stat().st_mtime > STALE_SECONDS
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
