"""Files appear under their final name whole or not at all; what stands in another file's place is known as that."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from idol_core.errors import Integrity

_PAGE = (b"<!doctype html", b"<html", b"<head")
_POINTER = b"version https://git-lfs.github.com/spec/"


def is_web_page(start: bytes) -> bool:
    """Whether a file that begins so is HTML: servers send pages for logins, quotas and errors."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower().startswith(_PAGE)


def refuse_stand_in(path: Path, *, where: str = "") -> None:
    """Raise Integrity where a file is not what its name says but empty, a Git LFS pointer or a web page.

    `where` names it in the error; default: the path. Raises OSError where it can't be read.
    """
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start.strip():
        what, fix = "the file is empty", "make or download it again"
    elif start.startswith(_POINTER):
        what, fix = "this is a Git LFS pointer, not the file that it stands for", "git lfs pull where it comes from"
    elif is_web_page(start):
        what, fix = "this is a web page (a login, quota or error page?), not the file", "download it again"
    else:
        return
    raise Integrity(what, where=where or str(path), fix=fix)


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it to `path`, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write `value` as JSON, atomically. NaN and infinity are refused (ValueError)."""
    with write_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
