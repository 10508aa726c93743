"""COCO instances with identities: exports of CVAT and Roboflow, and sets of images that are frames of videos.

An annotation's identity is `track_id` or `instance_id`, of the annotation or of its `attributes`. Images belong to a
clip by `video_id`, else by their folder, else by the video's name in Roboflow's file names; they are ordered by
`frame_id` (`frame_index`), else by name. Without any identity each image is a clip of its own.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import categories_of, items_of, told_of
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.annotations.rle import to_json
from idol_core.data.exchange.clip_parts import ClipParts
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelledTrack,
    LabelSet,
    Mask,
    VideoFrames,
    as_rle,
    count_of,
    distinct,
    image_names,
    read_mask,
)
from idol_core.data.exchange.paths import inner_name
from idol_core.data.exchange.tao import is_tao
from idol_core.data.image_files import in_order
from idol_core.errors import IdolError, Integrity
from idol_core.system.files import write_json

FILE = "annotations/instances_default.json"
_IDENTITIES = ("track_id", "instance_id")
_ORDERS = ("frame_id", "frame_index")
_CVAT_FRAME = re.compile(r"frame_(\d{6,})")  # CVAT's name for frame n of a video
_ROBOFLOW = re.compile(r"(?P<video>.+)_(?:mp4|mov|avi|mkv|webm)-(?P<frame>\d{1,9})_(?:jpe?g|png)\.rf\.\w+", re.I)


class _Image(NamedTuple):
    """An image, the clip that it belongs to, and the masks in it."""

    name: str
    size: tuple[int, int]
    clip: str
    order: int | None  # frame number; None: by name
    place: tuple[str, str]  # the file, "" where clips may be spread over several; the clip
    where: str
    objects: list[_Object]


class _Object(NamedTuple):
    identity: int | None
    category: str
    mask: Mask
    crowd: bool


def recognises(path: Path) -> bool:
    """Whether `path` is a COCO instances file, or a folder as CVAT and Roboflow export it."""
    return bool(_files(path))


def read(path: Path) -> LabelSet:
    """Read a file, or all of a folder (Roboflow's train, valid and test together).

    Raises Integrity, naming the entry: a malformed field, a track of two classes, two images of one frame.
    """
    left_out = Counter[str]()
    files = _files(path)
    folder = _base(path) if path.is_file() else path
    images: list[_Image] = []
    categories: dict[str, None] = {}
    for file in files:
        found, names = _read(file, _base(file).relative_to(folder).as_posix(), left_out)
        images += found
        categories |= dict.fromkeys(names)
    identities = [found.identity for image in images for found in image.objects]
    tracked = any(identity is not None for identity in identities)
    if tracked:
        left_out["objects without track_id: each is a track of one frame"] = identities.count(None)
    clips = distinct(_clips(images, tracked=tracked))
    return _of_video(LabelSet(clips, tuple(categories), tracked, str(folder), count_of(left_out)))


def _base(file: Path) -> Path:
    """The folder that image names are relative to: the file's, or the one above `annotations/`."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write one file, `annotations/instances_default.json`, with images below `images/`.

    Identities are written as `track_id` and `instance_id` and, for CVAT, in `attributes`; masks as RLE.
    """
    videos, images, annotations = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for number, clip in enumerate(labels.clips, 1):
        size = {"height": clip.height, "width": clip.width}
        videos.append({"id": number, "name": clip.name, **size})
        for t, name in enumerate(image_names(clip)):
            image = {"id": len(images) + 1, "file_name": name, **size}
            images.append(image | ({"video_id": number, "frame_id": t} if labels.tracked else {}))
            for track in clip.tracks:
                if t in track.masks:
                    entry = {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": labels.categories.index(track.category) + 1,
                        **_shape(track.masks[t], clip.height, clip.width),
                        "iscrowd": int(track.crowd),
                    }
                    annotations.append(entry | (_identity(number, track) if labels.tracked else {}))
    categories = [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(labels.categories, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(out / FILE, content | ({"videos": videos} if labels.tracked else {}), indent=None)
    return [out / FILE]


def _identity(video: int, track: LabelledTrack) -> dict[str, Any]:
    attributes = {"track_id": track.id, "keyframe": True}
    if not track.crowd:
        attributes["occluded"] = False  # which marks CVAT's masks, all of which it writes as crowds
    return {"video_id": video, "track_id": track.id, "instance_id": track.id, "attributes": attributes}


def _shape(mask: Mask, height: int, width: int) -> dict[str, Any]:
    whole = as_rle(mask, height, width)
    box = [float(v) for v in coco_mask.toBbox(whole)]
    segmentation = to_json(whole) if isinstance(mask, dict) else [list(polygon) for polygon in mask]
    return {"segmentation": segmentation, "area": int(coco_mask.area(whole)), "bbox": box}


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and _is_coco(path) else []
    patterns = ("*.json", "annotations/*.json", "*/_annotations.coco.json")
    for pattern in patterns:
        found = in_order(path.glob(pattern))
        if found and _is_coco(found[0]):
            return [file for file in found if _is_coco(file)]
    return []


def _is_coco(path: Path) -> bool:
    try:
        return annotation_kind(path) == "coco" and not is_tao(path)
    except IdolError:
        return False


def _read(file: Path, below: str, left_out: Counter[str]) -> tuple[list[_Image], list[str]]:
    """The images of a file with their objects, and the names of its classes."""
    document = JsonStream(file)
    images: dict[int, _Image] = {}
    names: dict[int, str] = {}
    for row, value in enumerate(document.walk("annotations", after={"images", "categories"})):
        if not names:
            names, images = dict(categories_of(document)), _images(document, below)
        with told_of(f"{file}:annotations[{row}]"):
            entry = fields.entry_of(value)
            number = fields.integer(entry, "image_id")
            category = fields.integer(entry, "category_id")
            if number not in images:
                raise ValueError(f"image_id {number} is not in `images`")
            if category not in names:
                raise ValueError(f"category_id {category} is not in `categories`")
            mask = read_mask(entry.get("segmentation"), *images[number].size)
            if mask is None:
                left_out["annotations without a mask"] += 1
                continue
            crowd = fields.crowd(entry) and "occluded" not in _attributes(entry)  # CVAT writes every mask as a crowd
            images[number].objects.append(_Object(_identity_of(entry), names[category], mask, crowd))
    if not names:
        names, images = dict(categories_of(document)), _images(document, below)
    used = {found.category for image in images.values() for found in image.objects}
    above = [entry.get("supercategory") for entry in document.value("categories")]
    # Roboflow's first class stands for the whole set and has no objects.
    return list(images.values()), [n for i, n in names.items() if i != 0 or n not in above or n in used]


def _images(document: JsonStream, below: str) -> dict[int, _Image]:
    videos = document.value("videos")
    listed = [video for video in videos if isinstance(video, Mapping)] if isinstance(videos, list) else []
    titles = {fields.as_integer(video.get("id")): video.get("name") for video in listed}
    found: dict[int, _Image] = {}
    for number, image, where in items_of(document, "images", found):
        with told_of(where):
            name = inner_name(fields.text(image, "file_name"), below=below)
            order = next((fields.integer(image, key) for key in _ORDERS if image.get(key) is not None), None)
            roboflow = _ROBOFLOW.match(PurePosixPath(name).stem) if image.get("video_id") is None else None
            if roboflow:
                clip, order = roboflow["video"], int(roboflow["frame"])
            else:
                clip = _clip_of(image, name, titles)
            place = ("" if roboflow else document.name, clip)
            clip = clip if clip != "." else Path(document.name).stem
            found[number] = _Image(name, fields.size(image), clip, order, place, where, [])
    return found


def _clip_of(image: Mapping[str, Any], name: str, titles: Mapping[Any, Any]) -> str:
    """Name of an image's clip: its video's, else its folder."""
    if image.get("video_id") is None:
        return PurePosixPath(name).parent.as_posix()
    number = fields.integer(image, "video_id")
    title = titles.get(number)
    video = title if isinstance(title, str) and title else f"video-{number}"
    return inner_name(fields.as_text(video, "name"))


def _attributes(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get("attributes")
    return found if isinstance(found, Mapping) else {}


def _identity_of(entry: Mapping[str, Any]) -> int | None:
    for values in (entry, _attributes(entry)):
        for key in _IDENTITIES:
            if values.get(key) is not None:
                return fields.integer(values, key)
    return None


def _clips(images: list[_Image], *, tracked: bool) -> Iterator[LabelledClip]:
    """Sort the images into clips, and the objects of each into tracks."""
    groups: dict[object, list[_Image]] = {}
    for row, image in enumerate(images):
        groups.setdefault(image.place if tracked else row, []).append(image)
    for group in groups.values():
        ordered = _ordered(group)
        size = ordered[0].size
        parts = ClipParts(*size)
        for t, image in enumerate(ordered):
            with told_of(image.where):
                if image.size != size:
                    raise ValueError(f"an image of {image.size} pixels in a clip of {size} (height, width)")
                for found in image.objects:
                    parts.add(found.identity, found.category, t, found.mask, crowd=found.crowd)
        name = ordered[0].clip if tracked else PurePosixPath(ordered[0].name).with_suffix("").as_posix()
        yield LabelledClip(name, *size, ImageFiles(tuple(image.name for image in ordered)), parts.tracks())


def _ordered(images: list[_Image]) -> list[_Image]:
    """The images of a clip in the order of its frames."""
    if any(image.order is None for image in images):
        by_name: dict[Path, _Image] = {}
        for image in images:
            if Path(image.name) in by_name:
                raise Integrity(f"two images {image.name}", where=image.where, fix="export it again")
            by_name[Path(image.name)] = image
        return [by_name[name] for name in in_order(by_name)]
    ordered = sorted(images, key=lambda image: image.order or 0)
    for image, following in itertools.pairwise(ordered):
        if image.order == following.order:
            what = f"two images of frame {image.order} of clip '{image.clip}': {image.name}, {following.name}"
            raise Integrity(what, where=following.where, fix="export it without augmentation")
    return ordered


def _of_video(labels: LabelSet) -> LabelSet:
    """Refer to the video where image names are those that CVAT gives to its frames, and no such files are there."""
    clips = []
    for clip in labels.clips:
        names = image_names(clip)
        found = [_CVAT_FRAME.fullmatch(PurePosixPath(name).stem) for name in names]
        there = any((Path(labels.folder) / part / names[0]).exists() for part in ("", "images"))
        numbers = [int(match[1]) for match in found if match]
        if labels.tracked and not there and len(numbers) == len(names) and numbers == sorted(set(numbers)):
            clip = replace(clip, frames=VideoFrames("", numbers))
        clips.append(clip)
    return replace(labels, clips=tuple(clips))
