"""labelme: a JSON file beside each image, with polygons and masks; `group_id` joins the shapes of one object.

A folder of images is a clip. Shapes with the same label and `group_id` are one object: its parts within an image, its
track across images. Coordinates are pixels, (0, 0) the corner of the image; a mask is a PNG of the box of its `points`,
both corners included. Source: labelme's reader and writer (versions 4 to 6).
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import told_of
from idol_core.data.annotations.json_stream import JsonStream
from idol_core.data.exchange.clip_parts import ClipParts
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelSet,
    Mask,
    checked_size,
    count_of,
    image_names,
    placed,
    polygon_mask,
)
from idol_core.data.exchange.outlines import polygons_of
from idol_core.data.exchange.paths import inner_name
from idol_core.data.frames import MAX_PIXELS
from idol_core.data.image_files import images_in, in_order
from idol_core.system.files import write_json

_VERSION = "5.5.0"  # of labelme, whose form is written


class _Image(NamedTuple):
    """An image with its shapes: label, group_id, mask."""

    file: Path
    name: str
    size: tuple[int, int]  # height, width
    shapes: list[tuple[str, int | None, Mask]]


def recognises(path: Path) -> bool:
    """Whether `path` is a folder with labelme's JSON files, directly or in its folders."""
    first = next(iter(_files(path)), None) if path.is_dir() else None
    if first is None:
        return False
    with open(first, "rb") as file:
        ends = file.read(1 << 16)
        file.seek(max(0, first.stat().st_size - 4096))
        ends += file.read()
    return b'"shapes"' in ends and b'"imagePath"' in ends


def read(path: Path) -> LabelSet:
    """Read a folder, and its folders, each a clip. Images without a label file are left out.

    Without any `group_id` there are no identities: each image becomes a clip of its own. A `group_id` of several
    classes in a clip is a track for each class, and counted.

    Raises Integrity, naming the file and the shape.
    """
    left_out = Counter[str]()
    folders: dict[str, list[_Image]] = {}
    for file in _files(path):
        with told_of(str(file)):
            folder = file.parent.relative_to(path).as_posix()
            image = _read(file, "" if folder == "." else folder, left_out)
            folders.setdefault(folder, []).append(image)
    for folder, images in folders.items():
        left_out["images without a label file"] += max(len(images_in(path / folder)) - len(images), 0)
    shapes = [shape for images in folders.values() for image in images for shape in image.shapes]
    alone = sum(group is None for _, group, _ in shapes)
    tracked = alone < len(shapes)
    here = path.resolve().name or "clip"
    if tracked:
        left_out["shapes without group_id: each is a track of one frame"] += alone
        clips = [_clip(here if folder == "." else folder, images, left_out) for folder, images in folders.items()]
    else:
        single = [image for images in folders.values() for image in images]
        clips = [_clip(PurePosixPath(image.name).with_suffix("").as_posix(), [image], left_out) for image in single]
    categories = tuple(sorted({label for label, *_ in shapes}))
    return LabelSet(tuple(clips), categories, tracked, str(path), count_of(left_out))


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write a JSON file for every frame, beside the place of its image in `out`; returns the clips' folders."""
    for clip in labels.clips:
        for t, name in enumerate(image_names(clip)):
            shapes: list[dict[str, Any]] = [
                {
                    "label": track.category,
                    "points": [list(point) for point in zip(polygon[::2], polygon[1::2], strict=True)],
                    "group_id": track.id if labels.tracked else None,
                    "description": "",
                    "shape_type": "polygon",
                    "flags": {},
                    "mask": None,
                }
                for track in clip.tracks
                if t in track.masks
                for polygon in polygons_of(track.masks[t], clip.height, clip.width)
            ]
            content: dict[str, Any] = {
                "version": _VERSION,
                "flags": {},
                "shapes": shapes,
                "imagePath": PurePosixPath(name).name,
                "imageData": None,
                "imageHeight": clip.height,
                "imageWidth": clip.width,
            }
            write_json(out / PurePosixPath(name).with_suffix(".json"), content, indent=2)
    return [out / clip.name for clip in labels.clips]


def _files(path: Path) -> list[Path]:
    return in_order(file for file in path.rglob("*.json") if not file.name.startswith(".") and file.is_file())


def _read(file: Path, folder: str, left_out: Counter[str]) -> _Image:
    document = JsonStream(file)
    shapes = list(document.walk("shapes", after=set()))
    image = document.value("imagePath")
    if image is None:
        raise ValueError("no `imagePath`: not a file of labelme")
    size = checked_size(*fields.size({"height": document.value("imageHeight"), "width": document.value("imageWidth")}))
    found = _Image(file, _name(fields.as_text(image, "imagePath"), folder), size, [])
    for row, value in enumerate(shapes):
        with told_of(f"{file}:shapes[{row}]"):
            shape = fields.entry_of(value)
            kind = shape.get("shape_type", "polygon")
            if kind not in ("polygon", "mask"):
                left_out[f"shapes of the kind '{fields.as_text(kind, 'shape_type')}', which have no mask"] += 1
                continue
            mask = _mask(shape, *size) if kind == "mask" else polygon_mask([_points(shape)], *size)
            if mask:
                group = None if shape.get("group_id") is None else fields.integer(shape, "group_id")
                found.shapes.append((fields.text(shape, "label"), group, mask))
    return found


def _name(image: str, folder: str) -> str:
    """Name of an image, relative to the folder that is read.

    labelme can keep label files apart from images; `imagePath` then leads out of the folder, and only the file's own
    name is used, for `--frames`.
    """
    try:
        return inner_name(image, below=folder)
    except ValueError:
        return inner_name(PurePosixPath(image.replace("\\", "/")).name, below=folder)


def _points(shape: Mapping[str, Any]) -> list[float]:
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError("points are no list of pairs [x, y]")
    return [v for point in points for v in point]


def _mask(shape: Mapping[str, Any], height: int, width: int) -> Mask | None:
    """A mask: a PNG in base64, of the box from the first to the second point."""
    corners = [fields.number(v) for v in _points(shape)]
    if len(corners) != 4 or corners[0] is None or corners[1] is None:
        raise ValueError("a mask needs two points, the corners of its box")
    try:
        content = base64.b64decode(fields.entry_of(shape)["mask"], validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError("too large")
            patch = np.asarray(picture).astype(np.bool_)
    except (KeyError, TypeError, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its mask is no PNG in base64: {error}") from None
    if patch.ndim != 2:
        raise ValueError("its mask is a PNG of colors, not of one channel")
    return placed(patch, round(corners[0]), round(corners[1]), height, width)


def _clip(name: str, images: Sequence[_Image], left_out: Counter[str]) -> LabelledClip:
    classes: dict[int | None, set[str]] = {}
    for image in images:
        for label, group, _ in image.shapes:
            classes.setdefault(group, set()).add(label)
    mixed = {group for group, labels in classes.items() if group is not None and len(labels) > 1}
    left_out["group_ids of several classes: a track for each class, as a track has one"] += len(mixed)
    size = images[0].size
    parts = ClipParts(*size)
    for t, image in enumerate(images):
        if image.size != size:
            with told_of(str(image.file)):
                raise ValueError(
                    f"an image of {image.size[0]} x {image.size[1]}, those before it in its folder are {size[0]} x "
                    f"{size[1]}; give each clip a folder of its own"
                )
        for label, group, mask in image.shapes:
            parts.add((label, group) if group in mixed else group, label, t, mask)
    return LabelledClip(name, *size, ImageFiles(tuple(image.name for image in images)), parts.tracks())
