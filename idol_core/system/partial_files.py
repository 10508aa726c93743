"""Temporary files of downloads: one per process; another process may resume it once its owner has ended."""

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

from idol_core.system.download import Say, say_on_stderr

STALE_SECONDS = 600.0  # without writes, after which another machine's file counts as abandoned
_OWNER = re.compile(r"\..+\.[0-9a-f]{8}\.(?P<host>.+)-(?P<pid>\d+)\.part(\.\w+){0,2}")  # gdown appends a suffix


@contextlib.contextmanager
def one_at_a_time(lock: Path, name: str, say: Say = say_on_stderr) -> Iterator[None]:
    """Hold a lock file; if another process holds it, print a message and wait."""
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
    """Path of this process's temporary file for downloading `source` to `final`.

    Each process has its own, as locks are unreliable on network file systems. The abandoned partial file of an ended
    process and the same source is renamed to it, so that the download resumes.
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
