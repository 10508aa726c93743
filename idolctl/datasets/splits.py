"""Train/val splits of a labelled data set, by video (images: by folder): make, write and check them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idol_core.classes import labels
from idol_core.config import DataSource
from idol_core.data.annotations.fields import as_integer
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.catalog import LAYOUTS, SIDES, find_layout, known_names, resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.own_sets import split_folder, split_names
from idol_core.data.stratify import linked, stratify
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.system.files import write_aside, write_json
from idolctl.datasets.old_splits import KEY, labels_state
from idolctl.errors import suggestion

FOLDER, NONE = "folder", "none"
PUBLISHED = ("ovis@oracle", "ytvis19@oracle")
_LISTS = {"vis": ("videos", "video_id"), "coco": ("images", "image_id")}


@dataclass(frozen=True)
class Side:
    """Counts of one side of a split: videos (or images), tracks, and the number of videos that contain each class."""

    videos: int
    tracks: int
    per_class: dict[str, int]


@dataclass(frozen=True)
class Split:
    """A split on disk. `digest` is the SHA-256 of the video ids of both sides."""

    name: str
    train: Side
    val: Side
    digest: str
    files: tuple[Path, Path]
    leaks: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitRow:
    """One line of `idolctl ls splits`; numbers of videos are None unless known without reading the annotations."""

    name: str
    made: str
    train: int | None
    val: int | None
    sha256: str | None
    folder: str


def split_rows(root: Path) -> list[SplitRow]:
    """Rows for the published splits and for those made below `root`."""
    rows = []
    for name in PUBLISHED:
        places = [root / LAYOUTS[f"{name}_{side}"].annotations[0] for side in SIDES]
        there = all(place.is_file() for place in places)
        made = "published" if there else f"published, not downloaded: idolctl split fetch {name}"
        rows.append(SplitRow(name, made, None, None, None, str(places[0].parent)))
    for name in split_names(root):
        folder = split_folder(root, name)
        about = _about(folder)
        made = f"--val-fraction {about.get('val_fraction', '?')} --seed {about.get('seed', '?')}"
        train, val = (n if isinstance(n := about.get(side), int) else None for side in SIDES)
        digest = about["sha256"] if isinstance(about.get("sha256"), str) else None
        rows.append(SplitRow(name, made, train, val, digest, str(folder)))
    return rows


def make_split(base: str, split: str, root: Path, *, val_fraction: float, seed: int, group: str = FOLDER) -> Split:
    """Divide BASE_train into BASE@SPLIT_train and BASE@SPLIT_val. Raises IdolError if BASE_train is not there.

    For images, `group` says which of them stay on the same side: those of one folder (FOLDER), none (NONE), or those
    in whose names a regular expression matches the same text (its first group, if it has one). The result is
    deterministic: the same annotations, fraction, seed and group give the same files.
    """
    parent = _open(f"{base}_train", root)
    if not parent.has_ground_truth:
        raise Missing(f"{base}_train has no annotations to split", where=str(parent.source), fix="split a labelled set")
    ids = parent.index.video_ids.tolist()
    if len(ids) < 2:
        raise InvalidInput(f"{base}_train has only one video", where=str(parent.source), fix="split a larger set")
    grouped = _groups(parent, group) if parent.kind == "coco" else None
    if grouped and len(set(grouped)) == 1:
        if group != FOLDER:
            raise InvalidInput("all images are in one group", where=f"--group {group}", fix="--group none, or a regex")
        grouped, group = None, NONE  # all images are in one folder: split them one by one
    groups = dict(zip(ids, _together(parent, grouped), strict=True))
    if len(set(groups.values())) == 1:
        what = f"all {_things(parent)} of {base}_train share frame files, so that any split would leak"
        raise InvalidInput(what, where=str(parent.source), fix="split a set whose videos have frames of their own")
    val = stratify(dict(zip(ids, _classes(parent), strict=True)), val_fraction=val_fraction, seed=seed, groups=groups)
    name = f"{base}@{split}"
    folder = split_folder(root, name)
    (folder / "split.json").unlink(missing_ok=True)
    document, kind = JsonStream(parent.source), parent.kind
    annotations = document.walk("annotations", after={_LISTS[kind][0], "categories"})
    with write_aside(folder / "train.json") as train_file, write_aside(folder / "val.json") as val_file:
        _write_sides(document, annotations, kind, val, (train_file, val_file))
    made = read_split(name, root, group=group)
    about = {"base": base, "val_fraction": val_fraction, "seed": seed, "sha256": made.digest}
    about |= {KEY: labels_state(parent.source)} | ({"group": group} if parent.kind == "coco" else {})
    write_json(folder / "split.json", about | {"train": made.train.videos, "val": made.val.videos})
    if grouped is not None:
        number = len(set(groups.values()))
        share = made.val.videos / len(ids)
        note = f"images stay together by {group}: {number} groups, {share:.0%} of the images validate"
        made = replace(made, notes=(*made.notes, note))
    elif (number := len(ids) - len(set(groups.values()))) > 0:
        note = f"{number} {_things(parent)} have frame files of others, which they stay together with"
        made = replace(made, notes=(*made.notes, note))
    return made


def read_split(name: str, root: Path, *, group: str | None = None) -> Split:
    """Read both sides of NAME (BASE@SPLIT, or any name with NAME_train and NAME_val) and compare them.

    `group`: how images are kept together (see `make_split`), if split.json is not written yet.
    """
    train, val = (_open(f"{name}_{side}", root) for side in SIDES)
    leaks = leaking_videos(train, val)
    faults: list[str] = []
    if "@" in name:
        parent = _open(f"{name.partition('@')[0]}_train", root)
        # A published split may give its videos new ids.
        faults = _strangers(train, val, parent, by_id=f"{name}_train" not in LAYOUTS)
    together, notes = _kept_together(group or _about(split_folder(root, name)).get("group"), train, val)
    leaks += together
    digest = hashlib.sha256(json.dumps([sorted(d.index.video_ids.tolist()) for d in (train, val)]).encode()).hexdigest()
    files = (train.source, val.source)
    return Split(name, _side(train), _side(val), digest, files, tuple(leaks), tuple(faults), tuple(notes))


def refuse_leaks(split: Split) -> None:
    """Raise Integrity (exit 4) if a video is on both sides, or a side has a video that the whole set lacks."""
    where = f"{split.files[0]} and {split.files[1]}"
    if split.leaks:
        what = f"{split.name} leaks: {_told(split.leaks, 'on both sides')}"
        raise Integrity(what, where=where, fix=f"idolctl split make {split.name.partition('@')[0]}")
    if split.faults:
        what = f"{split.name} has videos or objects that the whole set lacks: {_told(split.faults, 'unknown')}"
        raise Integrity(what, where=where, fix="use the split with the set that it was made from")


def _open(name: str, root: Path) -> Dataset:
    if find_layout(name, root) is None:
        known = sorted({n.rpartition("_")[0] for n in known_names(root)})
        base = name.rpartition("_")[0]
        raise InvalidInput(f"no data set '{base}'", where=f"data root {root}", fix=suggestion(base, known))
    return open_dataset(resolve_source(DataSource(name), root))


def _classes(dataset: Dataset) -> list[set[int]]:
    """The class indices in each video, without crowd annotations."""
    index = dataset.index
    found = []
    for first, stop in zip(index.first_track[:-1].tolist(), index.first_track[1:].tolist(), strict=True):
        kept = index.track_categories[first:stop][~index.track_crowd[first:stop]]
        found.append(set(kept.tolist()))
    return found


def _things(dataset: Dataset) -> str:
    return "videos" if dataset.kind == "vis" else "images"


def _together(dataset: Dataset, grouped: list[str] | None) -> list[int]:
    """A group number of each video or image: equal for those of one group, and for those that share a frame file."""
    index, first = dataset.index, dataset.index.first_frame.tolist()

    def keys(row: int) -> Iterator[object]:
        yield from (index.name(frame) for frame in range(first[row], first[row + 1]))
        if grouped is not None:
            yield (grouped[row],)

    return linked(keys(row) for row in range(len(dataset.videos)))


def _groups(dataset: Dataset, group: str) -> list[str]:
    """The group key of each image; images with equal keys stay on the same side."""
    names = [dataset.frame_name(row, 0).replace("\\", "/") for row in range(len(dataset.videos))]
    if group == FOLDER:
        return [name.rpartition("/")[0] for name in names]
    if group == NONE:
        return names
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise InvalidInput(
            f"not a regular expression: {error}", where=f"--group {group}", fix="--group '^(.+)_'"
        ) from None
    found = [pattern.search(name) for name in names]
    if None in found:
        name = names[found.index(None)]
        raise InvalidInput(f"'{name}' does not match the expression", where=f"--group {group}", fix="--group '^(.+)_'")
    return [(match.group(1) or "") if pattern.groups else match.group() for match in found if match]


def _kept_together(group: str | None, train: Dataset, val: Dataset) -> tuple[list[str], list[str]]:
    """Leaks and notes of a split of images.

    A group on both sides is a leak if the split keeps groups together; otherwise folders on both sides are noted.
    """
    if train.kind != "coco":
        return [], []
    by = FOLDER if group in (None, NONE) else str(group)
    sides = [set(_groups(side, by)) for side in (train, val)]
    shared = sorted(sides[0] & sides[1]) if len(sides[0] | sides[1]) > 1 else []
    if group not in (None, NONE):
        return [f"images of {name or 'one group'}" for name in shared], []
    return [], [f"images of {_told(shared, 'folders on both sides')}"] if shared else []


def _about(folder: Path) -> dict[str, Any]:
    """Content of the split's split.json; empty if there is none or it can't be read."""
    try:
        content = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_sides(
    document: JsonStream, annotations: Iterator[Any], kind: str, val: set[int], files: tuple[Path, Path]
) -> None:
    """Write both annotation files, one annotation at a time."""
    entries, key = _LISTS[kind]
    with open(files[0], "w", encoding="utf-8") as train_out, open(files[1], "w", encoding="utf-8") as val_out:
        outs, written = (train_out, val_out), [0, 0]
        for out in outs:
            out.write('{"annotations": [')
        for annotation in annotations:
            side = int(as_integer(annotation[key]) in val)
            outs[side].write((",\n" if written[side] else "\n") + json.dumps(annotation))
            written[side] += 1
        for side, out in enumerate(outs):
            out.write("\n]")
            kept = [v for v in document.value(entries) if (as_integer(v["id"]) in val) == bool(side)]
            rest = {k: document.value(k) for k in ("info", "licenses", "categories") if document.value(k) is not None}
            for name, value in {entries: kept, **rest}.items():
                out.write(f",\n{json.dumps(name)}: {json.dumps(value)}")
            out.write("}\n")


def _side(dataset: Dataset) -> Side:
    counts: Counter[int] = Counter()
    for found in _classes(dataset):
        counts.update(found)
    shown = labels(dict(zip(dataset.category_ids, dataset.category_names, strict=True))).values()
    return Side(len(dataset.videos), len(dataset.index.track_ids), {n: counts[i] for i, n in enumerate(shown)})


def _first_frame(dataset: Dataset, row: int) -> str:
    return str(dataset.frames / dataset.frame_name(row, 0))


def leaking_videos(train: Dataset, val: Dataset) -> list[str]:
    """Name the validation videos (or images) with a frame file that is in the training set too."""
    seen = {name for video in train.videos for name in video.file_names}
    leaking = [video for video in val.videos if not seen.isdisjoint(video.file_names)]
    return [f"video {video.id} ({Path(video.file_names[0]).parent.name})" for video in leaking]


def _strangers(train: Dataset, val: Dataset, parent: Dataset, *, by_id: bool) -> list[str]:
    """Videos of either side that the whole set lacks, compared by first frame and, with `by_id`, by id too."""
    known: dict[str, set[int]] = {}
    for row, video in enumerate(parent.videos):
        known.setdefault(_first_frame(parent, row), set()).add(video.id)
    found = []
    for side in (train, val):
        for row, video in enumerate(side.videos):
            numbers = known.get(_first_frame(side, row))
            if numbers is None or (by_id and video.id not in numbers):
                found.append(f"video {video.id}")
    return found


def _told(items: Iterable[str], what: str) -> str:
    found = list(items)
    return f"{len(found)} {what}, {', '.join(found[:3])}" + (", ..." if len(found) > 3 else "")
