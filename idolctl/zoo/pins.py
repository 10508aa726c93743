"""Pinned SHA-256 hashes of downloads: recorded on first download, checked from then on."""

from __future__ import annotations

import contextlib
import json
import re
import time

from filelock import FileLock

from idol_core.errors import Integrity
from idol_core.system.cache import cache_folder
from idol_core.system.files import write_json


def pinned(name: str) -> str | None:
    """The digest recorded when `name` was first fetched into this cache; None if it never was."""
    entry = _read().get(name)
    return entry["sha256"] if entry else None


def pin(name: str, digest: str, source: str, *, anew: bool = False) -> None:
    """Record the digest of `name`. `anew` replaces a recorded one (for files made on this machine, by conversion)."""
    with FileLock(cache_folder() / "pins.lock"):
        pins = _read()
        if anew or name not in pins:
            pins[name] = {"sha256": digest, "source": source, "date": time.strftime("%Y-%m-%d")}
            write_json(cache_folder() / "pins.json", pins)


def check(digest: str, expected: str | None, *, name: str, where: str) -> None:
    """Raise Integrity (exit 4) unless `digest` begins with `expected` (None: no check)."""
    if expected is not None and not digest.startswith(expected):
        what = f"{name} has sha256 {digest[:16]}..., but {expected[:16]}... is pinned"
        raise Integrity(what, where=where, fix="get it from a source that you trust; nothing was kept")


def _read() -> dict[str, dict[str, str]]:
    with contextlib.suppress(FileNotFoundError):
        path = cache_folder() / "pins.json"
        try:
            pins = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, IsADirectoryError) as error:
            raise Integrity("the pins can't be read", where=str(path), fix=_LOOK.format(path)) from error
        if not isinstance(pins, dict) or not all(map(_is_pin, pins.values())):
            raise Integrity("pins must be {NAME: {sha256: DIGITS}}", where=str(path), fix=_LOOK.format(path))
        return pins
    return {}


def _is_pin(entry: object) -> bool:
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    return isinstance(digest, str) and bool(re.fullmatch("[0-9a-f]{64}", digest))


_LOOK = "look at {}, or remove it"
