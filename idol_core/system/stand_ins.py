"""Recognise files that are not the expected content: empty files, Git LFS pointers, web pages."""

from __future__ import annotations

from pathlib import Path

from idol_core.errors import Integrity

_PAGE = (b"<!doctype html", b"<html", b"<head")
_POINTER = b"version https://git-lfs.github.com/spec/"


def is_web_page(start: bytes) -> bool:
    """Whether a file that starts with these bytes is HTML: servers send pages for logins, quotas and errors."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower().startswith(_PAGE)


def refuse_stand_in(path: Path, *, where: str = "") -> None:
    """Raise Integrity if a file is empty, a Git LFS pointer or a web page instead of what its name says.

    `where` names the file in the error; default: its path. Raises OSError if it can't be read.
    """
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start.strip():
        what, fix = "the file is empty", "make or download it again"
    elif start.startswith(_POINTER):
        what, fix = "this is a Git LFS pointer, not the file itself", "git lfs pull in its repository"
    elif is_web_page(start):
        what, fix = "this is a web page (a login, quota or error page?), not the file", "download it again"
    else:
        return
    raise Integrity(what, where=where or str(path), fix=fix)
