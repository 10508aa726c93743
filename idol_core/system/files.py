"""Write files atomically (temporary file, fsync, rename); read small JSON files without ever failing on content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it to `path`, on failure remove it.

    Folders that are missing are made; on failure they are removed again where nothing else was put into them.
    """
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # one is not empty
            for folder in missing:
                folder.rmdir()
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write `value` as JSON, atomically. NaN and infinity are refused (ValueError)."""
    with write_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LARGEST_JSON, DEEPEST_JSON = 16 << 20, 64  # bytes and levels of nesting; the files we write are far smaller


def read_object(path: Path) -> dict[str, Any]:
    """Read a small JSON file of ours that holds an object; {} if it does not.

    That is: no such file, not a regular file, over 16 MiB, not UTF-8, cut short, not an object, or nested more than 64
    levels deep. NaN and infinity are read as null.
    """
    return parse_object(_small(path))


def read_array(path: Path) -> list[Any]:
    """Read a small JSON file of ours that holds an array, as `read_object` does; [] if it does not."""
    found = _parse(_small(path))
    return found if isinstance(found, list) else []


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse `text` as a JSON object, as `read_object` does."""
    found = _parse(text)
    return found if isinstance(found, dict) else {}


def _small(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST_JSON else b""
    except OSError:
        return b""


def _parse(text: bytes) -> Any:
    try:
        value = json.loads(text.decode("utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return None if _deeper_than(value, DEEPEST_JSON) else value


def _deeper_than(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        lists = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [inner for values in lists for inner in values]
        if not level:
            return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
