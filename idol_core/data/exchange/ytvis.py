"""YouTube-VIS (and OVIS): the form that the project itself trains on, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from idol_core.data.annotations import fields
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.annotations.ytvis import read_vis
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelledTrack, LabelSet, distinct, without_empty
from idol_core.data.exchange.paths import inner_name
from idol_core.data.exchange.ytvis_writer import write_annotations
from idol_core.data.image_files import in_order
from idol_core.errors import IdolError

FILE = "instances.json"


def recognises(path: Path) -> bool:
    """Whether `path` is a YouTube-VIS file, or a folder that holds one."""
    return _file(path) is not None


def read(path: Path) -> LabelSet:
    """Read a file. Raises as `read_vis` does."""
    file = _file(path) or path
    return replace(labels_of(read_vis(file), file, tracked=True), folder=str(file.parent))


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write `instances.json`, with the frames below `JPEGImages/`; sets without identities as COCO instances."""
    write_annotations(labels, out / FILE)
    return [out / FILE]


def labels_of(index: AnnotationIndex, file: Path, *, tracked: bool) -> LabelSet:
    """The labels of an annotation index that was read from `file`. Masks become RLE.

    A clip has the `name` of its video, else that of its folder, else video-ID; a track the `track_id` of its
    annotation, else the id. Frames without a name get one by their number.
    """
    titles, identities = _given_names(file) if tracked else ({}, {})
    clips = []
    for row, number in enumerate(index.video_ids.tolist()):
        frames = range(int(index.first_frame[row]), int(index.first_frame[row + 1]))
        height, width = index.video_sizes[row].tolist()
        tracks = []
        for track in range(int(index.first_track[row]), int(index.first_track[row + 1])):
            found = ((t, index.segment(track, t, (height, width))) for t in range(len(frames)))
            category = index.category_names[int(index.track_categories[track])]
            own = int(index.track_ids[track])
            masks = without_empty({t: rle for t, rle in found if rle is not None})
            tracks.append(LabelledTrack(identities.get(own, own), category, masks, bool(index.track_crowd[track])))
        given = [index.name(frame) for frame in frames]
        name = titles.get(number) or _name(given, number, tracked=tracked)
        names = ImageFiles(tuple(inner_name(own or f"{name}/{t:05d}.jpg") for t, own in enumerate(given)))
        clips.append(LabelledClip(name, height, width, names, tuple(tracks)))
    return LabelSet(distinct(clips), index.category_names, tracked=tracked)


def _given_names(file: Path) -> tuple[dict[int, str], dict[int, int]]:
    """`name` of videos by id, and `track_id` of annotations by id, where these are unique in their video."""
    document = JsonStream(file)
    identities: dict[int, tuple[Any, int]] = {}
    for entry in document.walk("annotations", after=set()):
        number, track = fields.as_integer(entry.get("id")), fields.as_integer(entry.get("track_id"))
        if number is not None and track is not None and track >= 0:
            identities[number] = (entry.get("video_id"), track)
    if len(set(identities.values())) < len(identities):
        identities = {}
    titles = {}
    for video in document.value("videos") or []:
        number, name = fields.as_integer(video.get("id")), video.get("name")
        if number is not None and isinstance(name, str) and name:
            titles[number] = inner_name(fields.as_text(name, "name"))
    return titles, {number: track for number, (_, track) in identities.items()}


def _name(names: Sequence[str], number: int, *, tracked: bool) -> str:
    folders = {PurePosixPath(name).parent.as_posix() for name in names}
    if not tracked and names[0]:
        return PurePosixPath(names[0]).with_suffix("").as_posix()
    return folders.pop() if len(folders) == 1 and folders != {"."} else f"video-{number}"


def _file(path: Path) -> Path | None:
    """The file, or the one of a folder: `instances.json`, else the first JSON file."""
    own = path / FILE
    found = ([own] if own.is_file() else in_order(path.glob("*.json"))[:1]) if path.is_dir() else [path]
    for file in found:
        try:
            if file.suffix.lower() == ".json" and annotation_kind(file) == "vis":
                return file
        except IdolError:
            return None
    return None
