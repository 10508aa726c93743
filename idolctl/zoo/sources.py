"""Where a file can be fetched from: mirror folders, HTTP addresses, Google Drive, Hugging Face."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from idol_core.errors import Integrity, InvalidInput
from idol_core.system.download import CHUNK, LARGEST, Progress, download, require_room, web_page
from idol_core.system.hub import HubCopy, HubPlace, hub_file
from idol_core.system.stand_ins import is_web_page, refuse_stand_in
from idolctl.terminal.progress import say
from idolctl.zoo.drive import drive_file
from idolctl.zoo.entries import ZooEntry

ENDINGS = (".pth", ".safetensors")
_ADDRESS = re.compile(r"https?://[!-~]+")


@dataclass(frozen=True)
class Source:
    """One source. `place` is a path (`kind` folder), URL (http), file id (drive) or hf:... (hf); `ending` its suffix.

    `known` is what is known beforehand of a file on Hugging Face.
    """

    kind: str
    place: str
    ending: str = ".pth"
    known: HubCopy | None = None

    def __str__(self) -> str:
        return f"drive:{self.place}" if self.kind == "drive" else self.place


def sources_of(entry: ZooEntry, mirrors: Sequence[str], *, offline: bool, first: str | None = None) -> list[Source]:
    """All sources to try, in order: mirrors, those of the kind `first`, the others. With `offline` those on disk."""
    found = []
    for text in in_order(entry.sources, first):
        if text.startswith("drive:"):
            found.append(Source("drive", text.removeprefix("drive:")))
        elif text.startswith("hf:"):
            found.append(Source("hf", text, Path(text).suffix, entry.hub))
        else:
            found.append(Source("http", text, Path(urlsplit(text).path).suffix))
    copies = [s for mirror in mirrors for s in mirrored(mirror, entry.name)]
    return [s for s in copies + found if s.kind == "folder" or not offline]


def in_order(sources: Sequence[str], first: str | None) -> list[str]:
    """The sources, those that begin with `first`: before the others."""
    return sorted(sources, key=lambda text: not text.startswith(f"{first}:"))


def mirrored(mirror: str, name: str, endings: Sequence[str] = ENDINGS) -> Iterator[Source]:
    """Sources of `name`, with each ending, in a mirror: an address, or a folder (existing files only)."""
    for ending in endings:
        if "://" in mirror:
            yield Source("http", f"{mirror.rstrip('/')}/{name}{ending}", ending)
        elif (path := Path(mirror).expanduser() / f"{name}{ending}").is_file():
            yield Source("folder", str(path), ending)


def mirrors(asked: Sequence[str]) -> list[str]:
    """Mirrors to use: those given, then $IDOLCTL_MIRROR. Raises InvalidInput for a missing folder or a bad address."""
    found = [("--mirror", m) for m in asked] + [("IDOLCTL_MIRROR", os.environ.get("IDOLCTL_MIRROR", ""))]
    for where, mirror in found:
        if mirror and "://" not in mirror and not Path(mirror).expanduser().is_dir():
            raise InvalidInput(f"there is no mirror folder {mirror}", where=where, fix="give a folder or an address")
        if "://" in mirror and not _ADDRESS.fullmatch(mirror):
            what = f"{mirror} is not a web address"
            raise InvalidInput(what, where=where, fix="give http(s)://HOST/PATH, other characters as %XX")
    return [mirror for _, mirror in found if mirror]


def obtain(source: Source, part: Path, *, timeout: float, progress: Progress) -> None:
    """Download or copy `source` to `part`.

    Raises NetworkError, also for a web page in place of the file; Integrity for an empty file or a Git LFS pointer;
    OSError from the disk.
    """
    if source.kind == "folder":
        copy(Path(source.place), part, progress=progress)
    elif source.kind == "http":
        download(source.place, part, timeout=timeout, progress=progress, say=say)
    elif source.kind == "hf":
        place = HubPlace.parse(source.place)
        hub_file(place, part, known=source.known, timeout=timeout, progress=progress, say=say)
        say(f"{place}: size and hash are those that the hub states; nobody has compared its files with those on Drive")
    else:
        drive_file(source.place, part, timeout=timeout, progress=progress)
    with open(part, "rb") as file:
        start = file.read(4096)
    if is_web_page(start):
        part.unlink()
        raise web_page(start, str(source))
    refuse_stand_in(part, where=str(source))


def copy(path: Path, part: Path, *, progress: Progress) -> None:
    """Copy a regular file of a mirror folder, up to the size that it has at the start.

    Raises Integrity if it is not a regular file or too large, IdolError for too little disk space, OSError from the
    disk.
    """
    done, total = 0, path.stat().st_size
    if not path.is_file() or total > LARGEST:
        what = f"{total / 1e9:.0f} GB are more than any file of the zoo" if path.is_file() else "not a regular file"
        raise Integrity(what, where=str(path), fix="check that mirror")
    require_room(part, total)
    with open(path, "rb") as source, open(part, "wb") as target:
        while chunk := source.read(min(CHUNK, total - done)):
            target.write(chunk)
            done += len(chunk)
            progress(done, total)
