"""Fetch a folder of the zoo (the oracle split's annotation files) into the cache, completely or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from idol_core.errors import IdolError, Integrity, Missing, NetworkError
from idol_core.system.cache import cache_folder
from idol_core.system.download import Progress, download
from idol_core.system.files import sha256_of
from idol_core.system.hub import HubPlace
from idol_core.system.partial_files import one_at_a_time
from idol_core.system.stand_ins import refuse_stand_in
from idolctl.terminal.progress import say
from idolctl.zoo.drive import drive_folder
from idolctl.zoo.entries import ZooFolder
from idolctl.zoo.fetch import Fetched, none_worked
from idolctl.zoo.pins import check, pin, pinned
from idolctl.zoo.sources import copy, in_order
from idolctl.zoo.zipped import unzipped_hub_file


def fetch_folder(
    entry: ZooFolder,
    mirrors: Sequence[str],
    *,
    offline: bool,
    timeout: float,
    progress: Progress,
    first: str | None = None,
) -> Fetched:
    """Fetch all files of the folder into the cache. Raises as `fetch` does."""
    final = cache_folder() / entry.name
    if final.is_dir():
        return Fetched(entry.name, final, "there already", None)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with one_at_a_time(cache_folder() / f".{entry.name}.lock", entry.name, say):
        if final.is_dir():
            return Fetched(entry.name, final, "there already", None)
        tried: list[IdolError] = []
        for source in _sources(entry, mirrors, offline, first):
            aside = cache_folder() / f".{entry.name}.{uuid.uuid4().hex[:8]}.part"
            try:
                aside.mkdir()
                _obtain(source, entry, aside, timeout, progress)
                _check(entry, aside, source)
                aside.rename(final)
                for path in sorted(final.glob("*.json")):
                    pin(f"{entry.name}/{path.name}", sha256_of(path), source)
                return Fetched(entry.name, final, source, None)
            except (NetworkError, Integrity) as error:
                tried.append(error)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    raise none_worked(entry.name, tried, offline=offline, holds=f"{entry.name}/")


def verify_folder(entry: ZooFolder) -> Fetched:
    """Hash the cached files again. Raises Missing or Integrity."""
    final = cache_folder() / entry.name
    if not final.is_dir():
        raise Missing(f"{entry.name} is not in the cache", where=str(final), fix=f"idolctl fetch {entry.name}")
    _check(entry, final, str(final))
    return Fetched(entry.name, final, "there already", None)


def _sources(entry: ZooFolder, mirrors: Sequence[str], offline: bool, first: str | None) -> list[str]:
    folders = [m for m in mirrors if "://" not in m and (Path(m).expanduser() / entry.name).is_dir()]
    far = [m for m in mirrors if "://" in m]
    own = [] if offline else in_order(entry.sources, first)
    return [m for m in mirrors if m in folders or (m in far and not offline)] + own


def _obtain(source: str, entry: ZooFolder, aside: Path, timeout: float, progress: Progress) -> None:
    """Fetch only the files listed in `entry` to `aside`, all directly in it even if the source has subfolders."""
    if source.startswith("drive:"):
        drive_folder(source.removeprefix("drive:"), entry.files, aside, timeout=timeout, progress=progress)
    elif source.startswith("hf:"):
        for name in entry.files:
            unzipped_hub_file(HubPlace.parse(entry.hub[name]), aside / name, timeout=timeout, progress=progress)
        say(f"{source}: nobody has compared its files with those on Drive")
    elif "://" in source:
        for name in entry.files:
            download(
                f"{source.rstrip('/')}/{entry.name}/{name}", aside / name, timeout=timeout, progress=progress, say=say
            )
    else:
        folder = Path(source).expanduser() / entry.name
        for name in entry.files:
            for path in sorted(folder.rglob(name), key=lambda path: (len(path.parts), path))[:1]:
                copy(path, aside / name, progress=progress)


def _check(entry: ZooFolder, folder: Path, source: str) -> None:
    found = sorted(folder.glob("*.json"))
    lacking = [name for name in entry.files if not (folder / name).is_file()]
    if lacking:
        there = ", ".join(p.name for p in found) or "none of its files"
        what = f"{entry.name} lacks {', '.join(lacking)}; it holds {there}"
        raise Integrity(what, where=source, fix="try another --mirror URL|DIR")
    for path in found:
        refuse_stand_in(path, where=f"{source}: {path.name}")
        check(sha256_of(path), pinned(f"{entry.name}/{path.name}"), name=path.name, where=source)
        with open(path, "rb") as file:
            if not file.read(256).lstrip().startswith(b"{"):
                raise Integrity(
                    f"{path.name} is not an annotation file", where=source, fix="try another --mirror URL|DIR"
                )
