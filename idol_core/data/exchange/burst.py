"""BURST: a JSON file of `sequences`, each with masks by track for every annotated image; classes are LVIS's.

segmentations[frame][track id].rle is COCO's compressed RLE of the sequence's size, track_category_ids[track id] the
class. Images are SPLIT/DATASET/SEQUENCE/annotated_image_paths[frame]. Source: ANNOTATION_FORMAT.md of the benchmark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import categories_of, told_of
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelledTrack,
    LabelSet,
    count_of,
    distinct,
    read_mask,
    without_empty,
)
from idol_core.data.exchange.paths import inner_name
from idol_core.data.image_files import in_order

_WHOLE = "all_classes.json"  # of the files in a split's folder; the others hold parts of it
_KEYS = (b'"annotated_image_paths"', b'"track_category_ids"', b'"seq_name"')


def recognises(path: Path) -> bool:
    """Whether `path` is a BURST file, or a split's folder that holds one."""
    return _file(path) is not None


def read(path: Path) -> LabelSet:
    """Read a file. A clip has the annotated images, named DATASET/SEQUENCE; classes are those with a track.

    Raises Integrity, naming the sequence, frame and track.
    """
    file = _file(path) or path
    document = JsonStream(file)
    left_out = Counter[str]()
    clips = []
    names: dict[int, str] = {}
    for row, value in enumerate(document.walk("sequences", after={"categories"})):
        names = names or dict(categories_of(document))
        where = f"{file}:sequences[{row}]"
        with told_of(where):
            clips.append(_sequence(fields.entry_of(value), names, left_out, where))
    split = document.value("split")
    folder = inner_name(split) if isinstance(split, str) and split else ""
    done = distinct(
        replace(clip, frames=ImageFiles(tuple(inner_name(name, below=folder) for name in clip.frames.names)))
        for clip in clips
        if isinstance(clip.frames, ImageFiles)
    )
    used = {track.category for clip in done for track in clip.tracks}
    return LabelSet(
        done,
        tuple(dict.fromkeys(name for name in names.values() if name in used)),
        folder=str(file.parent),
        left_out=count_of(left_out),
    )


def _file(path: Path) -> Path | None:
    found = in_order(path.glob("*.json")) if path.is_dir() else [path] if path.suffix.lower() == ".json" else []
    found = [file for file in found if _is_burst(file)]
    return next((file for file in found if file.name == _WHOLE), found[0] if len(found) == 1 else None)


def _is_burst(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(1 << 20)
    return b'"sequences"' in start and any(key in start for key in _KEYS)


def _sequence(entry: Mapping[str, Any], names: Mapping[int, str], left_out: Counter[str], where: str) -> LabelledClip:
    height, width = fields.size(entry)
    name = inner_name("/".join(fields.text(entry, key) for key in ("dataset", "seq_name")))
    images = _texts(entry, "annotated_image_paths")
    segmentations = entry.get("segmentations")
    if not isinstance(segmentations, list) or len(segmentations) != len(images):
        count = len(segmentations) if isinstance(segmentations, list) else "no"
        raise ValueError(f"{count} segmentations for {len(images)} annotated images")
    if not images:
        raise ValueError("no annotated images")
    classes = _classes(entry, names)
    masks: dict[int, dict[int, RLE]] = {}
    for t, value in enumerate(segmentations):
        for key, one in fields.entry_of(value).items():
            with told_of(f"{where}, segmentations[{t}], track {key[:20]}"):
                track = fields.as_integer(key)
                if track is None or track not in classes:
                    raise ValueError(f"track {fields.shown(key)} is not in track_category_ids")
                mask = read_mask({"counts": fields.entry_of(one).get("rle"), "size": [height, width]}, height, width)
                if isinstance(mask, dict):
                    masks.setdefault(track, {})[t] = mask
    left_out["images without annotations"] += max(0, len(_texts(entry, "all_image_paths")) - len(images))
    partial = bool(entry.get("not_exhaustive_category_ids"))
    left_out["clips where not every object of a class is labelled: what is not counts as background"] += partial
    seen = {track: without_empty(found) for track, found in sorted(masks.items())}
    tracks = tuple(LabelledTrack(track, classes[track], found) for track, found in seen.items() if found)
    files = ImageFiles(tuple(inner_name(image, below=name) for image in images))
    return LabelledClip(name, height, width, files, tracks)


def _classes(entry: Mapping[str, Any], names: Mapping[int, str]) -> dict[int, str]:
    """Class names by track id."""
    found = {}
    for key, value in fields.entry_of(entry.get("track_category_ids")).items():
        track, category = fields.as_integer(key), fields.as_integer(value)
        if track is None or track < 0:
            raise ValueError(f"track_category_ids: {fields.shown(key)} is not an id")
        if category not in names or category is None:
            raise ValueError(f"track {track}: category {fields.shown(value)} is not in `categories`")
        found[track] = names[category]
    return found


def _texts(entry: Mapping[str, Any], key: str) -> list[str]:
    found = entry.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"{key} is not a list")
    return [fields.as_text(value, key) for value in found]
