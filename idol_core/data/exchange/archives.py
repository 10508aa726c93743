"""Unpack a zip of labels and frames; its content is bounded and stays within the folder."""

from __future__ import annotations

import errno
import stat
import zipfile
from pathlib import Path

from idol_core.data.exchange.paths import inner_name
from idol_core.errors import IdolError, Integrity

_MOST_FILES = 1_000_000
_FREE_BYTES = 1 << 30  # content that any archive may have
_MOST_RATIO = 200  # bytes of content per byte of the archive, above _FREE_BYTES; images and labels stay far below
_PIECE = 1 << 20
_MEND = "export it again from the tool that made it, or unpack it yourself and name the folder"


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack `archive` to `folder` and return the folder that holds its content (its only folder, if it has one).

    Raises Integrity for a file that is no zip or damaged, names that lead out of the folder, links, encrypted content,
    and content of more than 1 GiB that is over 200 times the size of the archive.
    """
    left = max(_FREE_BYTES, _MOST_RATIO * archive.stat().st_size)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            if not members:
                raise _refused(archive, "it holds no files")
            if len(members) > _MOST_FILES:
                raise _refused(archive, f"it holds {len(members)} files")
            for member in members:
                left -= _unpack_one(opened, member, folder, archive, left)
    except (IdolError, MemoryError):
        raise
    except Exception as error:  # zipfile can raise nearly anything on crafted files; what the disk says goes on
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise Integrity(f"not a zip that can be read: {error}", where=str(archive), fix=_MEND) from None
    inside = [path for path in folder.iterdir() if path.name != "__MACOSX" and not path.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _unpack_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, archive: Path, left: int) -> int:
    """Unpack a file; returns its size, which is counted as it is read, as the archive's own figures may be false."""
    try:
        path = folder / inner_name(member.filename)
    except ValueError as error:
        raise _refused(archive, str(error)) from None
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _refused(archive, f"{member.filename[:200]} is a link")
    if member.flag_bits & 1:
        raise _refused(archive, "it is encrypted")
    if path.exists() or any(parent.is_file() for parent in path.relative_to(folder).parents if str(parent) != "."):
        raise _refused(archive, f"{member.filename[:200]} is in it twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with opened.open(member) as source, open(path, "wb") as target:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > left:
                raise _refused(archive, "its content is over 200 times its size")
            target.write(piece)
    return size


def _refused(archive: Path, why: str) -> Integrity:
    return Integrity(f"the archive is refused: {why}", where=str(archive), fix=_MEND)
