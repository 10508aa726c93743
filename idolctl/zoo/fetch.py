"""Fetch published weights into the cache, one process at a time: download, check and pin the hash, convert."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idol_core.config import ModelConfig
from idol_core.errors import IdolError, Integrity, InvalidInput, Missing, NetworkError
from idol_core.system.cache import cache_folder, weights_path
from idol_core.system.download import Progress
from idol_core.system.files import sha256_of
from idol_core.system.partial_files import one_at_a_time, private_part
from idolctl.terminal.progress import say
from idolctl.zoo.entries import ZooEntry
from idolctl.zoo.metadata import metadata_of, require_fit
from idolctl.zoo.pins import check, pin, pinned
from idolctl.zoo.sources import Source, mirrored, obtain, sources_of


@dataclass(frozen=True)
class Fetched:
    """A file in the cache. `source` is where it was fetched from, or 'there already'."""

    name: str
    path: Path
    source: str
    sha256: str | None


def fetch(
    entry: ZooEntry,
    mirrors: Sequence[str],
    *,
    offline: bool,
    timeout: float,
    progress: Progress,
    first: str | None = None,
) -> Fetched:
    """Fetch one weights file of the zoo into the cache, unless it is there already.

    Raises:
        Missing: never published (the error names the command that trains it), or `offline` and not on disk.
        Integrity: wrong hash, damaged, or a pickle that contains more than arrays. Nothing is kept.
        NetworkError: no source worked; the error lists all of them.
    """
    folder = cache_folder() / "weights"
    if there := _there_already(entry):
        return there
    if entry.trained_by and not mirrors:
        raise Missing(f"{entry.name} was announced but never published", where="idolctl ls zoo", fix=entry.trained_by)
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / f".{entry.name}.lock", entry.name, say):
        if there := _there_already(entry):  # fetched by another process while this one waited
            return there
        for mirror in mirrors:
            if not any(mirrored(mirror, entry.name)):
                say(f"{mirror} has no {entry.name}.pth")
        tried: list[IdolError] = []
        for source in sources_of(entry, mirrors, offline=offline, first=first):
            if tried:
                say(f"{tried[-1].where}: {tried[-1].what}; next: {source}")
            try:
                return _from(source, entry, folder, timeout, progress)
            except (NetworkError, Integrity) as error:
                tried.append(error)
    raise none_worked(entry.name, tried, offline=offline, holds=f"{entry.name}.pth")


def _there_already(entry: ZooEntry) -> Fetched | None:
    with contextlib.suppress(Missing):
        return Fetched(entry.name, weights_path(entry.name), "there already", pinned(entry.name))
    return None


def none_worked(name: str, tried: list[IdolError], *, offline: bool, holds: str) -> IdolError:
    """Make the error after all sources failed; a wrong file takes precedence over failed downloads."""
    wrong = [e for e in tried if isinstance(e, Integrity)]
    mirror = f"idolctl fetch {name} --mirror URL|DIR (one that holds {holds})"
    if wrong:
        return Integrity(wrong[0].what, where=wrong[0].where, fix=mirror)
    if not tried:
        what = f"{name} is not in the cache" + (" and nothing may be downloaded" if offline else "")
        return Missing(what, where=str(cache_folder()), fix=mirror)
    what = tried[0].what if len(tried) == 1 else "; ".join(f"{e.where}: {e.what}" for e in tried)
    return NetworkError(f"{name} could not be downloaded: {what}", where="; ".join(e.where for e in tried), fix=mirror)


def _from(source: Source, entry: ZooEntry, folder: Path, timeout: float, progress: Progress) -> Fetched:
    final = folder / f"{entry.name}{source.ending}"
    part = private_part(final, str(source))
    try:
        obtain(source, part, timeout=timeout, progress=progress)
        digest, known = sha256_of(part), pinned(entry.name)
        check(digest, known or entry.sha256, name=entry.name, where=str(source))
        converted = _convert(part, entry, folder)
        pin(entry.name, digest, str(source))
        pin(converted.name, sha256_of(converted), f"converted from {source}", anew=True)
        if part.suffix == converted.suffix:
            part.unlink()
        else:
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            part.replace(final)
    except NetworkError:  # keep the partial file so that the next attempt resumes
        raise
    except Integrity as error:
        part.unlink(missing_ok=True)
        raise Integrity(error.what, where=str(source), fix=error.fix) from error
    except IdolError:
        part.unlink(missing_ok=True)
        raise
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        what = f"no room to write {entry.name}: {error.strerror}"
        raise IdolError(what, where=str(folder), fix="make room, or set IDOLCTL_CACHE to another disk") from error
    if known is None and (entry.sha256 is None or len(entry.sha256) < len(digest)):
        say(f"{entry.name}: trusted on first use, pinned sha256 {digest}")
    return Fetched(entry.name, converted, str(source), digest)


def _convert(part: Path, entry: ZooEntry, folder: Path) -> Path:
    """Load the file (arrays only, no other pickled objects) and save it as safetensors. Raises Integrity."""
    from idol_core.weights import convert_file, open_weights, save_weights  # imports torch

    say(f"{entry.name}: opening it as arrays only, and keeping it as safetensors")
    out = folder / f"{entry.name}.safetensors"
    if entry.kind == "imagenet":
        save_weights(out, open_weights(part).state, {"source": entry.name})
        return out

    def describe(model: ModelConfig) -> dict[str, str]:
        if entry.probable:
            require_fit(entry, model)
        return metadata_of(entry, model)

    try:
        converted = convert_file(part, "idolctl", out, describe=describe)
    except InvalidInput as error:
        raise Integrity(f"not {entry.name}: {error.what}", where=str(part), fix=error.fix) from error
    if converted.missing:
        what = f"{entry.name} lacks {len(converted.missing)} tensors of an IDOL model, first {converted.missing[0]}"
        raise Integrity(what, where=str(part), fix="try another --mirror URL|DIR")
    if entry.probable:
        left = f"; {len(converted.unexpected)} others left out" if converted.unexpected else ""
        say(f"{entry.name}: probably these weights, as {entry.probable}")
        say(f"{entry.name}: it has the names and shapes of all {len(converted.mapped)} tensors of step 1's model{left}")
    return out


def verify(entry: ZooEntry) -> Fetched:
    """Hash the cached files again, the download and the converted one, and compare with the pins.

    Raises Missing if nothing is cached, Integrity if a hash differs.
    """
    path = original(entry.name)
    if path is None:
        raise Missing(f"{entry.name} is not in the cache", where=str(cache_folder()), fix=f"idolctl fetch {entry.name}")
    digests = {file: sha256_of(file) for file in (path, path.with_suffix(".safetensors")) if file.is_file()}
    for file, digest in digests.items():
        expected = pinned(file.name if file.suffix == ".safetensors" else entry.name)
        if expected is not None and digest != expected:
            what = f"{file.name} has sha256 {digest[:16]}..., but {expected[:16]}... is pinned"
            raise Integrity(what, where=str(file), fix=f"remove that file, then idolctl fetch {entry.name}")
    return Fetched(entry.name, path, "there already", digests[path])


def original(name: str) -> Path | None:
    """The file as it was downloaded, if it is in the cache."""
    folder = cache_folder() / "weights"
    return next((p for ending in (".pth", ".safetensors") if (p := folder / f"{name}{ending}").is_file()), None)
