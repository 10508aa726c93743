"""Label Studio: a JSON list of tasks, an image each, with polygons and brush masks.

Coordinates are percent of the image's size. Label Studio has no identities on images: a region's identity is what its
labeller gave in a field of the region named `track_id`, `instance_id` or `object_id` (Number, TextArea or Choices with
perRegion="true"). Images belong to a clip by their folder; uploaded ones, which lose it, by their name without the
number at its end. Videos have boxes only. Source: labelstud.io/guide, and label-studio-sdk's converter.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

from idol_core.data.annotations import fields
from idol_core.data.annotations.entries import told_of
from idol_core.data.annotations.json_stream import json_list, open_json
from idol_core.data.exchange.clip_parts import ClipParts
from idol_core.data.exchange.label_studio_brush import decode_brush, encode_brush
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelSet,
    Mask,
    as_array,
    checked_size,
    count_of,
    distinct,
    image_names,
    placed,
    polygon_mask,
)
from idol_core.data.exchange.paths import inner_name
from idol_core.data.image_files import IMAGE_ENDINGS, in_order
from idol_core.errors import IdolError, Integrity
from idol_core.system.files import write_aside, write_json

FILE, CONFIG = "tasks.json", "config.xml"
_IDENTITIES = ("track_id", "instance_id", "object_id")
_SHAPES = ("polygon", "brush")
_UPLOADED = re.compile(r"/data/upload/.*?(?:[0-9a-f]{8}-)?(?P<name>[^/]+)$")  # Label Studio puts 8 digits before names


class _Region(NamedTuple):
    label: str
    identity: object | None
    mask: Mask


class _Image(NamedTuple):
    """A labelled task."""

    name: str
    clip: str
    size: tuple[int, int] | None  # None: without regions, which alone have it
    regions: list[_Region]
    where: str


def recognises(path: Path) -> bool:
    """Whether `path` is an export of Label Studio in its JSON form, or a folder that holds one."""
    return _file(path) is not None


def read(path: Path) -> LabelSet:
    """Read an export; of a task that several labelled, the first annotation that was not cancelled.

    Predictions are read where a task has no annotation. Without any identity each image is a clip of its own.

    Raises Integrity, naming the task and the region.
    """
    file = _file(path) or path
    left_out = Counter[str]()
    images: list[_Image] = []
    with open_json(file) as opened:
        for row, value in enumerate(json_list(opened, str(file))):
            with told_of(f"{file}: task {row}"):
                image = _image(fields.entry_of(value), f"{file}: task {row}", left_out)
                images += [image] if image else []
    tracked = any(region.identity is not None for image in images for region in image.regions)
    if tracked:
        single = sum(region.identity is None for image in images for region in image.regions)
        left_out["regions without track_id: each is a track of one frame"] = single
    labels = sorted({region.label for image in images for region in image.regions})
    clips = distinct(_clips(images, left_out, tracked=tracked))
    return LabelSet(clips, tuple(labels), tracked, str(file.parent), count_of(left_out))


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write `tasks.json`, to be imported beside local files served from `out`, and `config.xml`, the labelling setup.

    Tracks are predictions, which a labeller accepts or corrects; masks are brush masks.
    """
    tasks = []
    for clip in labels.clips:
        for t, name in enumerate(image_names(clip)):
            result: list[dict[str, Any]] = []
            for track in clip.tracks:
                if t in track.masks:
                    identity = track.id if labels.tracked else None
                    result += _result(clip, f"region-{len(result)}", identity, track.category, track.masks[t])
            predictions = [{"model_version": "idolctl", "result": result}]
            tasks.append({"data": {"image": f"/data/local-files/?d=images/{name}"}, "predictions": predictions})
    write_json(out / FILE, tasks, indent=None)
    view = Element("View")
    SubElement(view, "Image", name="image", value="$image")
    choices = SubElement(view, "BrushLabels", name="label", toName="image")
    for category in labels.categories:
        SubElement(choices, "Label", value=category)
    SubElement(view, "Number", name="track_id", toName="image", perRegion="true")
    with write_aside(out / CONFIG) as aside:
        aside.write_bytes(tostring(view, encoding="utf-8"))
    return [out / FILE, out / CONFIG]


def _result(clip: LabelledClip, region: str, track: int | None, label: str, mask: Mask) -> list[dict[str, Any]]:
    """The region of a mask, and its identity."""
    common: dict[str, Any] = {
        "id": region,
        "to_name": "image",
        "original_width": clip.width,
        "original_height": clip.height,
        "image_rotation": 0,
    }
    brush = {"format": "rle", "rle": encode_brush(as_array(mask, clip.height, clip.width)), "brushlabels": [label]}
    found = [common | {"from_name": "label", "type": "brushlabels", "value": brush}]
    if track is not None:
        found.append(common | {"from_name": "track_id", "type": "number", "value": {"number": track}})
    return found


def _file(path: Path) -> Path | None:
    files = in_order(path.glob("*.json")) if path.is_dir() else [path] if path.suffix.lower() == ".json" else []
    for file in files[:1]:
        try:
            with open_json(file) as opened:
                first = next(json_list(opened, str(file)), None)
        except IdolError:
            return None
        if isinstance(first, Mapping) and isinstance(first.get("data"), Mapping):
            return file
    return None


def _image(task: Mapping[str, Any], where: str, left_out: Counter[str]) -> _Image | None:
    results = _results(task, left_out)
    if results is None:
        left_out["tasks that nobody labelled"] += 1
        return None
    fields_of = _region_fields(results)
    regions, size = [], None
    for row, result in enumerate(results):
        kind = str(result.get("type", "")).removesuffix("labels")
        if kind == "videorectangle":
            left_out["boxes of videos, which have no mask"] += 1
        elif kind in ("rectangle", "ellipse", "keypoint", "vector"):
            left_out[f"regions of the kind '{kind}', which have no mask"] += 1
        elif kind in _SHAPES:
            with told_of(f"{where}, region {row}"):
                own = checked_size(
                    *fields.size({"height": result.get("original_height"), "width": result.get("original_width")})
                )
                if size not in (None, own):
                    raise ValueError(f"regions of images of {size} and {own} pixels in one task")
                size = own
                mask = _mask(result, kind, *size)
                label, identity = _label(result, kind, fields_of, left_out), _identity(result, fields_of)
                if mask:
                    regions.append(_Region(label, identity, mask))
    name, clip = _names(task)
    return _Image(name, clip, size, regions, where)


def _results(task: Mapping[str, Any], left_out: Counter[str]) -> list[Mapping[str, Any]] | None:
    """The regions of the first annotation that was not cancelled, else of the first prediction; None: there is none."""
    for key in ("annotations", "completions", "predictions"):
        given = task.get(key) or []
        if not isinstance(given, list):
            raise ValueError(f"{key} {fields.shown(given)} is no list")
        found = [entry for entry in map(fields.entry_of, given) if not entry.get("was_cancelled")]
        if found:
            left_out["annotations by further labellers of a task"] += len(found) - 1 if key != "predictions" else 0
            result = found[0].get("result")
            if not isinstance(result, list):
                raise ValueError(f"result {fields.shown(result)} is no list")
            return [fields.entry_of(entry) for entry in result]
    return None


def _region_fields(results: list[Mapping[str, Any]]) -> dict[tuple[Any, str], Any]:
    """What labellers gave for a region, by (region's id, name of the field)."""
    found: dict[tuple[Any, str], Any] = {}
    for result in results:
        value = result.get("value")
        if isinstance(value, Mapping) and isinstance(result.get("id"), str | int):
            for key in ("number", "text", "choices", "labels"):
                if key in value:
                    given = value[key][0] if isinstance(value[key], list) and value[key] else value[key]
                    found[result["id"], "labels" if key == "labels" else str(result.get("from_name"))] = given
    return found


def _label(result: Mapping[str, Any], kind: str, given: Mapping[tuple[Any, str], Any], left_out: Counter[str]) -> str:
    labels = fields.entry_of(result.get("value")).get(f"{kind}labels")
    if isinstance(labels, list) and labels:
        left_out["further labels of regions, of which the first is taken"] += len(labels) - 1
        return fields.as_text(labels[0], f"{kind}labels")
    label = given.get((result.get("id"), "labels"))
    if label is None:
        raise ValueError("a region without a label")
    return fields.as_text(label, "labels")


def _identity(result: Mapping[str, Any], given: Mapping[tuple[Any, str], Any]) -> object | None:
    """The identity that a labeller gave: an integer where it is one, else text; None: none."""
    for name in _IDENTITIES:
        value = given.get((result.get("id"), name))
        if value is not None:
            number = fields.as_integer(value)
            return number if number is not None else fields.as_text(value, name)
    return None


def _mask(result: Mapping[str, Any], kind: str, height: int, width: int) -> Mask | None:
    if result.get("image_rotation") not in (None, 0):
        raise ValueError(f"an image that is turned by {result['image_rotation']} degrees; turn it back in Label Studio")
    value = fields.entry_of(result.get("value"))
    if kind == "brush":
        values = value.get("rle")
        if not isinstance(values, list):
            raise ValueError(f"rle {fields.shown(values)} is no list of bytes")
        return placed(decode_brush(values, height, width), 0, 0, height, width)
    points = value.get("points")
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError("points are no list of pairs [x, y]")
    numbers = [fields.number(v) for point in points for v in point]
    if None in numbers:
        raise ValueError("points are no pairs of finite numbers")
    scale = (width / 100, height / 100)
    return polygon_mask([[v * scale[i % 2] for i, v in enumerate(numbers) if v is not None]], height, width) or None


def _names(task: Mapping[str, Any]) -> tuple[str, str]:
    """Name of the image's file, and of its clip."""
    data = fields.entry_of(task.get("data"))
    texts = [data.get("image"), *data.values()]
    address = next((t for t in texts if isinstance(t, str) and t.lower().endswith(IMAGE_ENDINGS)), None)
    if address is None:
        raise ValueError("`data` names no image file")
    parts = urlsplit(address)
    uploaded = _UPLOADED.match(parts.path)
    if uploaded:
        name = inner_name(fields.as_text(unquote(uploaded["name"]), "image"))
        return name, PurePosixPath(name).stem.rstrip("0123456789").rstrip("_-. ") or "clip"
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    name = inner_name(fields.as_text(path, "image").lstrip("/"))
    return name, PurePosixPath(name).parent.as_posix()


def _clips(images: list[_Image], left_out: Counter[str], *, tracked: bool) -> Iterator[LabelledClip]:
    """Sort the images into clips; their names are relative to the folder that all of them lie in."""
    groups: dict[str, dict[Path, _Image]] = {}
    whole = PurePosixPath(posixpath.commonpath([image.clip for image in images]) if images else "")
    for image in images:
        title = PurePosixPath(image.name).with_suffix("").as_posix()
        group = groups.setdefault(image.clip if tracked else title, {})
        if Path(image.name) in group:
            what = f"a second task with the image {image.name}"
            raise Integrity(what, where=image.where, fix="export one project, or remove the second task")
        group[Path(image.name)] = image
    for name, group in groups.items():
        ordered = [group[path] for path in in_order(group)]
        size = next((image.size for image in ordered if image.size is not None), None)
        if size is None:
            left_out["images of clips without any object"] += len(ordered)
            continue
        parts = ClipParts(*size)
        for t, image in enumerate(ordered):
            with told_of(image.where):
                if image.size not in (None, size):
                    raise ValueError(
                        f"an image of {image.size[0]} x {image.size[1]} in a clip of {size[0]} x {size[1]}"
                    )
                for region in image.regions:
                    parts.add(region.identity, region.label, t, region.mask)
        names = ImageFiles(tuple(image.name for image in ordered))
        if tracked:
            inner = PurePosixPath(name).relative_to(whole).as_posix()
            name = inner if inner != "." else PurePosixPath(name).name or "clip"
        yield LabelledClip(name, *size, names, parts.tracks())
