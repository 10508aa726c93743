"""Cache the index of large annotation files on disk; all processes map it into memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock

from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.json_stream import Progress
from idol_core.errors import Missing
from idol_core.system.cache import cache_folder

LARGE_BYTES = 16 * 2**20  # smaller files are parsed each time, in less than a second
_FORMAT = 2
_TEXTS = ("category_names", "occlusion_levels")
_ARRAYS = tuple(field.name for field in dataclasses.fields(AnnotationIndex) if field.name not in _TEXTS)


class Read(Protocol):
    """A reader of annotation files, such as `read_vis`."""

    def __call__(self, path: Path, /, *, on_read: Progress | None = None) -> AnnotationIndex: ...


def open_index(path: Path, kind: str, read: Read, *, on_read: Progress | None = None) -> AnnotationIndex:
    """Open the index of an annotation file, from the cache folder if the cached copy is up to date.

    Otherwise `read` parses the file; for a large file, `on_read` reports progress and the index is cached.
    If the cache folder is not writable, the index stays in memory.

    Raises:
        Missing, Integrity: as `read` does.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise Missing(
            "annotation file not found", where=str(path), fix="name an existing file as `annotations`"
        ) from None
    if status.st_size < LARGE_BYTES:
        return read(path)
    stamp = {"format": _FORMAT, "kind": kind, "size": status.st_size, "modified": status.st_mtime_ns}
    folder = cache_folder() / "annotations" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    found = _stored(folder, stamp)
    if found is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):  # one process parses, others wait for it
            found = _stored(folder, stamp)
            if found is None:
                store_index(read(path, on_read=on_read), folder, stamp)
    except OSError:
        return read(path, on_read=on_read)
    return found or load_index(folder)


def store_index(index: AnnotationIndex, folder: Path, stamp: dict[str, Any]) -> None:
    """Write an index as `.npy` files; replaces the folder atomically. Raises OSError."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.mkdir()
        for name in _ARRAYS:
            np.save(aside / f"{name}.npy", getattr(index, name))
        (aside / "index.json").write_text(
            json.dumps({"stamp": stamp} | {name: getattr(index, name) for name in _TEXTS})
        )
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load_index(folder: Path) -> AnnotationIndex:
    """Map a stored index into memory, read-only. Raises OSError or ValueError if the folder is incomplete."""
    about = json.loads((folder / "index.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    texts: dict[str, Any] = {name: tuple(about[name]) for name in _TEXTS}
    return StoredIndex(**texts, **arrays, folder=folder)


@dataclasses.dataclass(frozen=True)
class StoredIndex(AnnotationIndex):
    """An index mapped from `folder`. When pickled to another process, it is mapped again there, not copied."""

    folder: Path

    def __reduce__(self) -> tuple[Callable[[Path], AnnotationIndex], tuple[Path]]:
        return load_index, (self.folder,)


def _stored(folder: Path, stamp: dict[str, Any]) -> AnnotationIndex | None:
    try:
        if json.loads((folder / "index.json").read_text())["stamp"] != stamp:
            return None
        return load_index(folder)
    except (OSError, ValueError, KeyError):
        return None
