"""Import labels of other tools: convert them to a data set below the data root and register it under a name."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from idol_core.data.annotations.entries import told_of
from idol_core.data.dataset import Dataset
from idol_core.data.exchange.archives import unpack
from idol_core.data.exchange.formats import READERS, find_format
from idol_core.data.exchange.labels import ImageFiles, LabelSet, check_cells
from idol_core.data.exchange.ytvis_writer import write_annotations
from idol_core.errors import IdolError, Integrity, InvalidInput
from idol_core.system.files import write_json
from idolctl.datasets.add import SideFiles, add_set, check_name
from idolctl.datasets.frame_files import find_frames

ANNOTATIONS, FRAMES = "instances.json", "frames"
MARK = "import.json"  # what was imported; only a folder that has it is ever replaced


@dataclass(frozen=True)
class Imported:
    """What an import found and wrote."""

    format: str
    labels: LabelSet
    file: Path  # the YAML description
    opened: dict[str, Dataset]

    @property
    def classes(self) -> dict[str, int]:
        """Number of tracks of each class."""
        count = Counter(track.category for clip in self.labels.clips for track in clip.tracks)
        return {name: count[name] for name in self.labels.categories}


def import_labels(
    source: Path, name: str, root: Path, *, format: str | None, frames: Path | None, force: bool
) -> Imported:
    """Convert labels to ROOT/NAME/instances.json and register them as NAME, as `add_set` does.

    Frames in folders of the user's stay where they are; those of a video or a zip are written to ROOT/NAME/frames.

    Raises as the format's reader, `find_frames` and `add_set` do; nothing is left behind then, and a set that was to
    be replaced stays.
    """
    check_name(name, root, force=force)
    home = root / name
    if home.exists() and not (force and (home / MARK).is_file()):
        raise InvalidInput(f"{home} already exists", where=str(home), fix="--name with another name, or remove it")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as scratch:
        aside, unpacked = Path(scratch) / "new", Path(scratch) / "unpacked"
        aside.mkdir()
        with _told_of_zip(unpacked, source):
            given = unpack(source, unpacked) if source.is_file() and zipfile.is_zipfile(source) else source
            format = format or find_format(given)
            labels = READERS[format].read(given)
            _check(labels, source)
            files = find_frames(labels, frames, aside / FRAMES)
        folder, named = _frames_folder(labels, files, Path(scratch), aside / FRAMES)
        write_annotations(named, aside / ANNOTATIONS)
        write_json(aside / MARK, {"source": str(source.absolute()), "format": format, "left_out": labels.left_out})
        part = SideFiles(home / FRAMES if folder is None else folder, home / ANNOTATIONS)
        with _replaced(home, aside, Path(scratch) / "old"):
            kind = "vis" if labels.tracked else "coco"
            file, opened = add_set(name, root, kind=kind, train=part, val=None, force=force)
    return Imported(format, labels, file, opened)


@contextmanager
def _told_of_zip(unpacked: Path, archive: Path) -> Iterator[None]:
    """Name the archive in errors about its content, not the folder that it was unpacked to, which will be gone."""
    try:
        yield
    except IdolError as error:
        error.where = error.where.replace(str(unpacked), str(archive))
        raise


@contextmanager
def _replaced(home: Path, new: Path, old: Path) -> Iterator[None]:
    """Put the folder `new` in the place of `home`; if anything is raised, `home` is as it was. `old`: kept there."""
    if home.exists():
        home.rename(old)
    try:
        new.rename(home)
        yield
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        if old.exists():
            old.rename(home)
        raise


def _check(labels: LabelSet, source: Path) -> None:
    with told_of(str(source)):
        check_cells(sum(len(clip.tracks) * clip.length for clip in labels.clips))
    if not any(clip.tracks for clip in labels.clips):
        why = f" (left out: {'; '.join(labels.left_out)})" if labels.left_out else ""
        raise Integrity(f"no object with a mask{why}", where=str(source), fix="label objects with polygons or masks")


def _frames_folder(
    labels: LabelSet, files: Sequence[Sequence[Path]], scratch: Path, kept: Path
) -> tuple[Path | None, LabelSet]:
    """The folder of all frames, and the labels with names relative to it; None: `kept`, which then holds them all.

    Files of the user's are used where they are, unless some frames had to be unpacked or extracted.
    """
    paths = [path.absolute() for clip in files for path in clip]
    if not any(path.is_relative_to(scratch.absolute()) for path in paths):
        folder = Path(os.path.commonpath([path.parent for path in paths]))
        return folder, _named(labels, [[p.absolute().relative_to(folder).as_posix() for p in clip] for clip in files])
    names = [
        [_moved(path, kept, f"{clip.name}/{t:05d}{path.suffix.lower()}") for t, path in enumerate(found)]
        for clip, found in zip(labels.clips, files, strict=True)
    ]
    return None, _named(labels, names)


def _moved(path: Path, kept: Path, name: str) -> str:
    """Put a frame into `kept` under `name`, unless it is there already; returns its name in `kept`."""
    if path.is_relative_to(kept):
        return path.relative_to(kept).as_posix()
    target = kept / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another file system
        shutil.copyfile(path, target)
    return name


def _named(labels: LabelSet, names: Sequence[Sequence[str]]) -> LabelSet:
    clips = [replace(clip, frames=ImageFiles(tuple(own))) for clip, own in zip(labels.clips, names, strict=True)]
    return replace(labels, clips=tuple(clips))
