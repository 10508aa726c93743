"""Fetch an annotation file that a Hugging Face repository holds as a zip."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path

from idol_core.errors import Integrity
from idol_core.system.download import CHUNK, Progress, require_room
from idol_core.system.hub import HubPlace, hub_file
from idolctl.terminal.progress import say

LARGEST_JSON = 2 << 30  # bytes, unpacked; the training annotations of OVIS have 0.3 GB


def unzipped_hub_file(place: HubPlace, out: Path, *, timeout: float, progress: Progress) -> None:
    """Download a zip and write its one JSON file to `out`, whatever its name in the zip is.

    Raises as `hub_file` does, and Integrity for a damaged zip or one that holds none or several JSON files.
    """
    packed = out.with_suffix(".zip")
    hub_file(place, packed, timeout=timeout, progress=progress, say=say)
    try:
        with zipfile.ZipFile(packed) as archive:
            member = _only_json(archive, str(place))
            require_room(out, member.file_size)
            _unpack(archive, member, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        what = f"the zip can't be read: {error}"
        raise Integrity(what, where=str(place), fix="try another --mirror URL|DIR") from error
    finally:
        packed.unlink(missing_ok=True)


def _only_json(archive: zipfile.ZipFile, where: str) -> zipfile.ZipInfo:
    found = [
        member
        for member in archive.infolist()
        if member.filename.endswith(".json") and "__MACOSX" not in member.filename and not _is_link(member)
    ]
    if len(found) != 1 or found[0].file_size > LARGEST_JSON:
        what = f"the zip holds {len(found)} JSON files" if len(found) != 1 else "the zip's file is too large"
        raise Integrity(f"{what}, expected one annotation file", where=where, fix="try another --mirror URL|DIR")
    return found[0]


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, out: Path) -> None:
    with archive.open(member) as source, open(out, "wb") as target:  # no more than file_size bytes come out
        while chunk := source.read(CHUNK):
            target.write(chunk)
