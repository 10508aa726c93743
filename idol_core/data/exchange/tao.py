"""TAO: COCO's form with `videos` and `tracks`, and an annotation per object and image.

TAO itself has boxes; masks of its videos are BURST's. A polygon that is the box of its annotation, as TAO's toolkit
fills it in, is not taken for a mask. A category's `merged` lists others that count as it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import box_of, categories_of, items_of, told_of
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.exchange.clip_parts import ClipParts
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelSet, Mask, count_of, distinct, read_mask
from idol_core.data.exchange.paths import inner_name
from idol_core.data.image_files import in_order
from idol_core.errors import IdolError, Integrity

_NEAR = 1.0  # pixels that a box's corner may be off the polygon's


class _Image(NamedTuple):
    """An annotated image."""

    name: str
    video: int
    frame: int  # `frame_index`
    size: tuple[int, int]
    where: str


class _Track(NamedTuple):
    """A track of a video."""

    video: int
    category: str


def recognises(path: Path) -> bool:
    """Whether `path` is a TAO file, or a folder that holds one."""
    return _file(path) is not None


def is_tao(path: Path) -> bool:
    """Whether a file of COCO's form has TAO's `tracks`."""
    document = JsonStream(path)
    try:
        with closing(document.walk("annotations", after=set())) as annotations:
            first = next(annotations, None)
        if not isinstance(first, Mapping) or not {"track_id", "image_id"} <= first.keys():
            return False
        if isinstance(listed := document.value("tracks"), list):
            return bool(listed)
        with closing(document.walk("tracks", after=set())) as tracks:
            track = next(tracks, None)
    except IdolError:
        return False
    return isinstance(track, Mapping) and "video_id" in track


def read(path: Path) -> LabelSet:
    """Read a file. A clip has a video's annotated images, ordered by `frame_index`; classes are those with a track.

    Raises Integrity, naming the entry.
    """
    file = _file(path) or path
    document = JsonStream(file)
    left_out = Counter[str]()
    images: dict[int, _Image] = {}
    tracks: dict[int, _Track] = {}
    names: dict[int, str] = {}
    masks: dict[int, list[tuple[int, int, Mask, str]]] = {}  # by video: track, image, mask
    for row, value in enumerate(document.walk("annotations", after={"images", "videos", "tracks", "categories"})):
        if not names:
            names = _names(document)
            images, tracks = dict(_images(document)), dict(_tracks(document, names))
        where = f"{file}:annotations[{row}]"
        with told_of(where):
            entry = fields.entry_of(value)
            number, identity = fields.integer(entry, "image_id"), fields.integer(entry, "track_id")
            if number not in images:
                raise ValueError(f"image_id {number} is not in `images`")
            if identity not in tracks:
                raise ValueError(f"track_id {identity} is not in `tracks`")
            image = images[number]
            if tracks[identity].video != image.video:
                video = tracks[identity].video
                raise ValueError(f"track {identity} is of video {video}, image {number} of {image.video}")
            mask = None if _is_box(entry) else read_mask(entry.get("segmentation"), *image.size)
            if mask is None:
                left_out["annotations with a box and no mask (BURST has masks of the same videos)"] += 1
                continue
            masks.setdefault(image.video, []).append((identity, number, mask, where))
    clips = distinct(_clips(document, images, tracks, masks, left_out)) if images else ()
    used = {track.category for clip in clips for track in clip.tracks}
    listed = tuple(dict.fromkeys(name for name in names.values() if name in used))
    return LabelSet(clips, listed, folder=str(_base(file)), left_out=count_of(left_out))


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() == ".json" and is_tao(path) else None
    found = [file for pattern in ("*.json", "annotations/*.json") for file in in_order(path.glob(pattern))]
    if len(found) > 8:  # TAO has a file for each of three splits
        return None
    found = [file for file in found if is_tao(file)]
    return found[0] if len(found) == 1 else None


def _base(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _names(document: JsonStream) -> dict[int, str]:
    """Class names by id; merged categories have the name of the one they count as."""
    names = dict(categories_of(document))
    for entry in document.value("categories"):
        number, merged = fields.integer(entry, "id"), entry.get("merged") or []
        for other in merged if isinstance(merged, list) else []:
            names[fields.integer(fields.entry_of(other), "id")] = names[number]
    return names


def _images(document: JsonStream) -> Iterator[tuple[int, _Image]]:
    known: dict[int, None] = {}
    for number, entry, where in items_of(document, "images", known):
        with told_of(where):
            known[number] = None
            name = inner_name(fields.text(entry, "file_name"))
            video, frame = fields.integer(entry, "video_id"), fields.integer(entry, "frame_index")
            yield number, _Image(name, video, frame, fields.size(entry), where)


def _tracks(document: JsonStream, names: Mapping[int, str]) -> Iterator[tuple[int, _Track]]:
    known: dict[int, None] = {}
    for number, entry, where in items_of(document, "tracks", known):
        with told_of(where):
            known[number] = None
            category = fields.integer(entry, "category_id")
            if category not in names:
                raise ValueError(f"category_id {category} is not in `categories`")
            yield number, _Track(fields.integer(entry, "video_id"), names[category])


def _is_box(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation's only polygon is its box."""
    box, value = box_of(entry.get("bbox")), entry.get("segmentation")
    if box is None or not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], list):
        return False
    polygon = value[0]
    if len(polygon) not in (8, 10) or not fields.NUMBERS.issuperset(map(type, polygon)):
        return False
    left, top, width, height = box
    sides = ((left, left + width), (top, top + height))
    return all(any(abs(v - side) <= _NEAR for side in sides[i % 2]) for i, v in enumerate(polygon))


def _clips(
    document: JsonStream,
    images: Mapping[int, _Image],
    tracks: Mapping[int, _Track],
    masks: Mapping[int, list[tuple[int, int, Mask, str]]],
    left_out: Counter[str],
) -> Iterator[LabelledClip]:
    groups: dict[int, list[int]] = {}
    for number, image in images.items():
        groups.setdefault(image.video, []).append(number)
    known: dict[int, None] = {}
    for video, entry, where in items_of(document, "videos", known):
        known[video] = None
        order = sorted(groups.pop(video, []), key=lambda number: images[number].frame)
        if not order:
            left_out["videos without annotated images"] += 1
            continue
        with told_of(where):
            name = inner_name(fields.text(entry, "name"))
        partial = bool(entry.get("not_exhaustive_category_ids"))
        left_out["clips where not every object of a class is labelled: what is not counts as background"] += partial
        yield _clip(name, order, images, tracks, masks.get(video, []))
    for video, numbers in groups.items():
        raise Integrity(f"video_id {video} is not in `videos`", where=images[numbers[0]].where, fix="complete the file")


def _clip(
    name: str,
    order: list[int],
    images: Mapping[int, _Image],
    tracks: Mapping[int, _Track],
    masks: list[tuple[int, int, Mask, str]],
) -> LabelledClip:
    size = images[order[0]].size
    rows = {number: t for t, number in enumerate(order)}
    frames = dict[int, int]()
    for number in order:
        image = images[number]
        with told_of(image.where):
            if image.size != size:
                raise ValueError(f"an image of {image.size} pixels in a video of {size} (height, width)")
            if image.frame in frames:
                raise ValueError(f"frame_index {image.frame} of the video is that of image {frames[image.frame]} too")
        frames[image.frame] = number
    parts = ClipParts(*size)
    seen = set[tuple[int, int]]()
    for identity, number, mask, where in masks:
        with told_of(where):
            if (identity, number) in seen:
                raise ValueError(f"track {identity} is in image {number} twice")
            seen.add((identity, number))
            parts.add(identity, tracks[identity].category, rows[number], mask)
    return LabelledClip(name, *size, ImageFiles(tuple(images[number].name for number in order)), parts.tracks())
