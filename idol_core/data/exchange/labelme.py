"""labelme: a JSON file beside each image, with polygons and masks; `group_id` joins the shapes of one object.

A folder of images is a clip. Shapes with the same label and `group_id` are one object: its parts within an image, its
track across images. Coordinates are pixels, (0, 0) the corner of the image; a mask is a PNG of the box of its `points`,
both corners included. Source: labelme's reader and writer (versions 4 to 6).
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

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
    as_images,
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


@dataclass
class _Building:
    """A clip while its files are read."""

    size: tuple[int, int] | None = None
    names: list[str] = field(default_factory=list)
    shapes: list[tuple[str, int | None, int, Mask]] = field(default_factory=list)  # label, group_id, frame, mask


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

    Without any `group_id` there are no identities: each image becomes a clip of its own.

    Raises Integrity, naming the file and the shape.
    """
    left_out = Counter[str]()
    clips: dict[str, _Building] = {}
    for file in _files(path):
        with told_of(str(file)):
            folder = file.parent.relative_to(path).as_posix()
            _add(file, "" if folder == "." else folder, clips.setdefault(folder, _Building()), left_out)
    groups = [group for clip in clips.values() for _, group, _, _ in clip.shapes]
    tracked = any(group is not None for group in groups)
    for folder, clip in clips.items():
        left_out["images without a label file"] += max(len(images_in(path / folder)) - len(clip.names), 0)
    if tracked:
        left_out["shapes without group_id: each is a track of one frame"] += groups.count(None)
    here = path.resolve().name or "clip"
    labels = LabelSet(
        tuple(_finished(here if folder == "." else folder, clip) for folder, clip in clips.items()),
        tuple(sorted({label for clip in clips.values() for label, *_ in clip.shapes})),
        folder=str(path),
        left_out=count_of(left_out),
    )
    return labels if tracked else as_images(labels)


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


def _add(file: Path, folder: str, clip: _Building, left_out: Counter[str]) -> None:
    """Add the shapes of an image to its clip."""
    document = JsonStream(file)
    shapes = list(document.walk("shapes", after=set()))
    image = document.value("imagePath")
    if image is None:
        raise ValueError("no `imagePath`: not a file of labelme")
    size = fields.size({"height": document.value("imageHeight"), "width": document.value("imageWidth")})
    if clip.size is not None and size != clip.size:
        raise ValueError(f"an image of {size[0]} x {size[1]}, those before it in its folder are {clip.size[0]} x "
                         f"{clip.size[1]}; give each clip a folder of its own")  # fmt: skip
    clip.size = size
    t = len(clip.names)
    clip.names.append(inner_name(fields.as_text(image, "imagePath"), below=folder))
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
                clip.shapes.append((fields.text(shape, "label"), group, t, mask))


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


def _finished(name: str, clip: _Building) -> LabelledClip:
    assert clip.size is not None
    classes: dict[int | None, set[str]] = {}
    for label, group, _, _ in clip.shapes:
        classes.setdefault(group, set()).add(label)
    parts = ClipParts(*clip.size)
    for label, group, t, mask in clip.shapes:
        shared = group is not None and len(classes[group]) > 1  # one number of two classes is two objects
        parts.add((label, group) if shared else group, label, t, mask)
    return LabelledClip(name, *clip.size, ImageFiles(tuple(clip.names)), parts.tracks())
