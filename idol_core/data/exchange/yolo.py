"""YOLO segmentation: a text file per image, a line per object: class x y x y ..., as fractions of the image's size.

The folder holds `data.yaml` with the class names (or `classes.txt`), and images and labels in folders that differ only
in `images` and `labels`: images/train with labels/train, or train/images with train/labels. There are no identities.
An object of several parts is one polygon, joined by slits. Source: docs.ultralytics.com, segmentation data sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path, PurePosixPath

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from idol_core.data.annotations.entries import told_of
from idol_core.data.annotations.fields import as_integer, as_text, shown
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelledTrack,
    LabelSet,
    Polygons,
    as_images,
    count_of,
    image_names,
    polygon_mask,
)
from idol_core.data.exchange.outlines import one_polygon
from idol_core.data.frames import frame_size
from idol_core.data.image_files import IMAGE_ENDINGS, in_order
from idol_core.errors import Integrity, Missing
from idol_core.system.files import write_aside

_NAMES = ("data.yaml", "dataset.yaml", "data.yml")
_MOST_BYTES = 1 << 26  # of a text file
_MEND = "export it again as YOLO segmentation"


def recognises(path: Path) -> bool:
    """Whether `path` is a folder with YOLO's class names and label files."""
    return path.is_dir() and _names_file(path) is not None and next(_label_files(path), None) is not None


def read(path: Path) -> LabelSet:
    """Read a folder; each image is a clip of its own, and each line an object.

    Raises Integrity, naming the file and the line, and Missing for an image that is not there.
    """
    categories = _categories(path)
    left_out = Counter[str]()
    clips = []
    for file in _label_files(path):
        inner = file.relative_to(path)
        last = max(i for i, part in enumerate(inner.parts) if part == "labels")
        image = _image_of(path, path.joinpath(*inner.parts[:last], "images", *inner.parts[last + 1 :]))
        height, width = frame_size(image)
        tracks = list[LabelledTrack]()
        for number, line in enumerate(_text(file).splitlines(), 1):
            with told_of(f"{file}:{number}"):
                found = _object(line, categories, height, width)
            if found is None:
                left_out["boxes, which have no mask"] += 1
            else:
                tracks.append(LabelledTrack(len(tracks) + 1, found[0], {0: found[1]}))
        name = image.relative_to(path).as_posix()
        title = PurePosixPath(*inner.parts[:last], *inner.parts[last + 1 :]).with_suffix("").as_posix()
        clips.append(LabelledClip(title, height, width, ImageFiles((name,)), tuple(tracks)))
    used = {path / image_names(clip)[0] for clip in clips}
    left_out["images without a label file"] = sum(image not in used for image in _images(path))
    return LabelSet(tuple(clips), tuple(categories.values()), False, str(path), count_of(left_out))


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write `data.yaml` and a text file below `labels/` for every frame, with images below `images/`."""
    plain = as_images(labels) if labels.tracked else labels
    for clip in plain.clips:
        lines = []
        for track in clip.tracks:
            polygon = one_polygon(track.masks[0], clip.height, clip.width)
            if polygon:
                scaled = (v / (clip.width, clip.height)[i % 2] for i, v in enumerate(polygon))
                lines.append(f"{plain.categories.index(track.category)} " + " ".join(f"{v:.6g}" for v in scaled))
        name = PurePosixPath(image_names(clip)[0]).with_suffix(".txt")
        with write_aside(out / "labels" / name) as aside:
            aside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(plain.categories))}
    text = StringIO()
    YAML().dump(content, text)
    with write_aside(out / _NAMES[0]) as aside:
        aside.write_text(text.getvalue(), encoding="utf-8")
    return [out / _NAMES[0], out / "labels"]


def _names_file(path: Path) -> Path | None:
    return next((path / name for name in (*_NAMES, "classes.txt") if (path / name).is_file()), None)


def _label_files(path: Path) -> Iterator[Path]:
    for file in in_order(path.rglob("*.txt")):
        if "labels" in file.relative_to(path).parts[:-1] and file.is_file():
            yield file


def _images(path: Path) -> Iterator[Path]:
    """Image files below folders called `images`."""
    for file in path.rglob("*"):
        inner = file.relative_to(path)
        if file.suffix.lower() in IMAGE_ENDINGS and "images" in inner.parts[:-1] and not file.name.startswith("."):
            yield file


def _categories(path: Path) -> dict[int, str]:
    """Class names by index."""
    file = _names_file(path)
    if file is None:
        raise Missing("no data.yaml with the class names", where=str(path), fix="name the folder that holds data.yaml")
    with told_of(str(file)):
        if file.suffix == ".txt":
            listed = [line.strip() for line in _text(file).strip().splitlines()]
            if "" in listed or len(set(listed)) < len(listed):
                raise ValueError("an empty line or a name twice: classes are numbered by their lines")
            return dict(enumerate(listed))
        try:
            content = YAML(typ="safe", pure=True).load(_text(file))
        except (YAMLError, RecursionError) as error:
            raise ValueError(f"not YAML: {error}") from None
        names = content.get("names") if isinstance(content, dict) else None
        pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else None
        if not names or pairs is None:
            raise ValueError("`names`, the class names, is neither a list nor a mapping")
        found = {as_integer(number): as_text(name, "names") for number, name in pairs}
        if None in found or len(set(found.values())) < len(found):
            raise ValueError("`names` has a key that is not a number, or the same name twice")
        return {number: name for number, name in found.items() if number is not None}


def _image_of(path: Path, stem: Path) -> Path:
    for ending in (*IMAGE_ENDINGS, *(ending.upper() for ending in IMAGE_ENDINGS)):
        image = stem.with_name(stem.name.removesuffix(".txt") + ending)
        if image.is_file():
            return image
    where = stem.with_name(stem.name.removesuffix(".txt") + ".jpg")
    raise Missing("the image of a label file is not there", where=str(where), fix="put the images beside the labels")


def _text(file: Path) -> str:
    if file.stat().st_size > _MOST_BYTES:
        raise Integrity("a text file of over 64 MiB", where=str(file), fix=_MEND)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Integrity("not UTF-8 text", where=str(file), fix=_MEND) from None


def _object(line: str, categories: dict[int, str], height: int, width: int) -> tuple[str, Polygons] | None:
    """(class, polygon) of a line; None for a box, or a polygon of under three corners."""
    words = line.split()
    if not words:
        return None
    category = as_integer(words[0])
    if category not in categories or category is None:
        raise ValueError(f"class {shown(words[0])} is not in `names`")
    try:
        values = [float(word) for word in words[1:]]
    except ValueError:
        raise ValueError("a line of other things than numbers") from None
    if len(values) == 4:
        return None
    if len(values) % 2:
        raise ValueError(f"{len(values)} coordinates: they must be pairs x, y")
    if any(not -1 <= value <= 2 for value in values):
        raise ValueError("coordinates that are no fractions of the image's size")
    polygon = polygon_mask([[v * (width, height)[i % 2] for i, v in enumerate(values)]], height, width)
    return (categories[category], polygon) if polygon else None
