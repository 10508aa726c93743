"""Export a data set, or a model's results, as labels of another tool."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from idol_core.data.catalog import known_names, resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.exchange.formats import FORMATS
from idol_core.data.exchange.labels import LabelledClip, LabelSet, image_names
from idol_core.data.exchange.results import read_results
from idol_core.data.exchange.ytvis import labels_of
from idol_core.data.frames import encode_jpeg
from idol_core.errors import InvalidInput, Missing
from idol_core.video.colors import Frame
from idolctl.datasets.root import find_data, is_toy, make_toy_data

FramesOf = Callable[[LabelledClip], Iterable[Path | Frame]]  # image files of a clip's frames, or their pixels


def export_data(name: str, root: Path, out: Path, *, format: str) -> tuple[LabelSet, list[Path]]:
    """Write a data set's labels in a format to the folder `out`; returns the labels and the files written.

    Raises InvalidInput for an unknown name or a folder that holds something, Missing and Integrity for the set's files.
    """
    dataset = _open(name, root)
    labels = labels_of(dataset.index, dataset.source, tracked=dataset.kind == "vis")
    return write_labels(labels, out, format=format, frames_of=_files_of(dataset, labels))


def export_results(
    results: Path, root: Path, out: Path, *, format: str, data: str | None, threshold: float
) -> tuple[LabelSet, list[Path]]:
    """Write the tracks of a results file as `export_data` does. `data`: the set that they are of; it names the frames.

    Raises also InvalidInput for a format that needs images, without `data`.
    """
    if data is None:
        if FORMATS[format].images is not None and not FORMATS[format].alone:
            what = f"{format} needs the frames beside the labels, which a results file does not name"
            raise InvalidInput(what, where=str(results), fix="--data SET names the data set that the results are of")
        labels = read_results(results, threshold=threshold, clips={}, names={})
        return write_labels(labels, out, format=format, frames_of=None)
    dataset = _open(data, root)
    known = labels_of(dataset.index, dataset.source, tracked=True)
    clips = dict(zip(dataset.index.video_ids.tolist(), known.clips, strict=True))
    names = dict(zip(dataset.category_ids, dataset.category_names, strict=True))
    labels = read_results(results, threshold=threshold, clips=clips, names=names)
    return write_labels(labels, out, format=format, frames_of=_files_of(dataset, labels))


def write_labels(
    labels: LabelSet, out: Path, *, format: str, frames_of: FramesOf | None
) -> tuple[LabelSet, list[Path]]:
    """Write labels to the folder `out`, which appears once it is complete, with the frames if the tool wants them.

    Frames are linked where the file system can do it, else copied. Returns the labels as the format holds them, with
    what was lost in `left_out`, and the files. Raises InvalidInput if `out` holds something.
    """
    refuse_full(out)
    form = FORMATS[format]
    labels = form.fit(labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        aside = Path(scratch) / "new"
        aside.mkdir()
        written = [path.relative_to(aside) for path in form.write(labels, aside)]
        if form.images is not None and frames_of is not None:
            for clip in labels.clips:
                _put_frames(clip, frames_of(clip), aside / form.images)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    return labels, [out / path for path in written]


def refuse_full(out: Path) -> None:
    """Raise InvalidInput if `out` is no folder, or holds something: labels that a labeller corrected, perhaps."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InvalidInput(f"{out} already exists", where=str(out), fix="another --out DIR, or remove it")


def _open(name: str, root: Path) -> Dataset:
    full = f"{name}_train"
    if f"{name}_val" not in known_names(root) and full in known_names(root):
        name = full
    source = find_data(name, root)
    if is_toy(source):
        make_toy_data(root)
    return open_dataset(resolve_source(source, root))


def _files_of(dataset: Dataset, labels: LabelSet) -> FramesOf:
    rows = {clip.name: row for row, clip in enumerate(labels.clips)}
    return lambda clip: [Path(name) for name in dataset.videos[rows[clip.name]].file_names]


def _put_frames(clip: LabelledClip, frames: Iterable[Path | Frame], folder: Path) -> None:
    for name, frame in zip(image_names(clip), frames, strict=True):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(frame, np.ndarray):
            target.write_bytes(encode_jpeg(frame))
            continue
        if not frame.is_file():
            raise Missing("frame not found", where=str(frame), fix="complete the frames folder")
        try:
            os.link(frame, target)
        except OSError:  # another file system
            shutil.copyfile(frame, target)
