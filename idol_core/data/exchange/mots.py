"""MOTS and KITTI-MOTS: a PNG of 16 bits per frame, or a text file per clip; classes are cars and pedestrians.

instances/CLIP/000001.png holds class * 1000 + number of the object, which is the track's id; 10000 is a region to
ignore, 0 the background. instances_txt/CLIP.txt (also CLIP/gt/gt.txt) has a line per object and frame; see `mots_txt`.
MOTS counts frames from 1, KITTI-MOTS from 0. CVAT has this form too: PNGs in `instances` or folders in it, with
labels.txt, whose line n is the name of class n, and no PNG for a frame without objects.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pycocotools import mask as coco_mask

from idol_core.data.annotations.entries import told_of
from idol_core.data.exchange import mots_txt
from idol_core.data.exchange.clip_parts import ClipParts
from idol_core.data.exchange.labels import LabelledClip, LabelSet, Mask, count_of
from idol_core.data.exchange.mask_folders import (
    Frames,
    find_images,
    first_mask,
    frame_number,
    mask_folders,
    masks_in,
    ordered,
    sizes_equal,
)
from idol_core.data.exchange.mask_images import masks_of, read_header, read_numbers
from idol_core.data.image_files import images_in, in_order
from idol_core.errors import Integrity, Missing

CLASSES = {1: "car", 2: "pedestrian"}
IGNORED = 10  # class of regions to ignore
PER_CLASS = 1000
MASKS, LINES, NAMES = "instances", "instances_txt", "labels.txt"
IGNORED_NAME = "ignored"  # of that class in labels.txt
_IMAGES = ("images", "image_02", "training/image_02")
_TRUTH, _TRUTH_FILE = "gt", "gt.txt"  # CLIP/gt/gt.txt is of CLIP/img1
_FIX = "save class * 1000 + number of the object as grey of 16 bits; --format davis reads palette PNGs"


class _Source(NamedTuple):
    """The labels of a clip: a folder of PNGs, or a text file."""

    name: str
    path: Path
    images: tuple[Path, ...]  # folders that its frames may be in


class _Place(NamedTuple):
    base: Path  # folder that holds `instances` and the images
    masks: Path  # folder of the labels and of labels.txt
    sources: tuple[_Source, ...]


@dataclass
class _Objects:
    """The objects of a clip while they are read."""

    size: tuple[int, int] | None = None
    masks: list[tuple[int, int, int, Mask, str]] = field(default_factory=list)  # id, class, frame, mask, where it is
    ignored: dict[int, list[Mask]] = field(default_factory=dict)  # by frame


def recognises(path: Path) -> bool:
    """Whether `path` holds MOTS labels and their first frame is not 0."""
    return first_frame(path) not in (None, 0)


def first_frame(path: Path) -> int | str | None:
    """Number (or stem) of the first labelled frame of MOTS or KITTI-MOTS labels; None: `path` has none."""
    path = _named(path)
    if path.is_dir() and (file := _first_png(path)) is not None:
        return frame_number(file.stem)
    files = _text_files(path)
    return mots_txt.first_frame(files[0][1]) if files else None


def read(path: Path) -> LabelSet:
    """Read a data set's folder, its `instances` or `instances_txt`, the folder of a clip, or a text file.

    Where there are PNGs, text files are not read. A clip of PNGs has the frames that there is a PNG of; a clip of a
    text file those of its images beside it, without these the frames from the first with an object to the last. Regions
    to ignore become crowds, one per class.

    Raises Missing if there are no labels; Integrity, with the file and line: a number without a class, PNGs of 8 bits
    or of colors, malformed lines, masks of another size.
    """
    place = _place(_named(path))
    if not place.sources:
        raise Missing("no MOTS labels", where=str(path), fix="name the folder that holds instances or instances_txt")
    names = _class_names(place.masks / NAMES)
    known = names or CLASSES
    used = set[int]()
    left_out = Counter[str]()
    read_clips = []
    for source in place.sources:
        objects, stems = (_read_pngs if source.path.is_dir() else _read_txt)(source, known, listed=bool(names))
        used |= {category for _, category, *_ in objects.masks}
        found = find_images(place.base, source.images, source.name, stems)
        left_out["images without a mask file"] += found.without
        read_clips.append((source, objects, found))
    listed = [n for n in known if (names or n in used) and known[n] != IGNORED_NAME]
    clips = [_clip(*parts, known, [known[n] for n in listed]) for parts in read_clips]
    return LabelSet(
        tuple(clips),
        tuple(known[n] for n in listed),
        folder=str(place.base),
        left_out=count_of(left_out),
        mask_folder=str(place.masks) if place.sources[0].path.is_dir() else "",
    )


def _clip(
    source: _Source, objects: _Objects, frames: Frames, known: Mapping[int, str], names: list[str]
) -> LabelledClip:
    assert objects.size is not None
    parts = ClipParts(*objects.size)
    for identity, category, t, mask, where in objects.masks:
        with told_of(where):
            parts.add(identity, known[category], t, mask)
    for name, (t, masks) in itertools.product(names, objects.ignored.items()):
        for mask in masks:
            parts.add((IGNORED_NAME, name), name, t, mask, crowd=True)
    return LabelledClip(source.name, *objects.size, frames.files, parts.tracks())


def _named(path: Path) -> Path:
    """The absolute path; for CLIP/gt/gt.txt and CLIP/gt that of CLIP."""
    path = path.absolute()
    path = path.parent if path.name == _TRUTH_FILE and path.parent.name == _TRUTH else path
    return path.parent if path.name == _TRUTH and (path / _TRUTH_FILE).is_file() else path


def _place(path: Path) -> _Place:
    if path.is_dir() and _first_png(path) is not None:
        labels = path / MASKS if (path / MASKS).is_dir() else path
        files = [("", folder) for folder in mask_folders(labels)]
    else:
        labels = path / LINES if (path / LINES).is_dir() else path if path.is_dir() else path.parent
        files = _text_files(path)
    above = next((parent for parent in (labels, *labels.parents) if parent.name in (MASKS, LINES)), None)
    root, base = (above, above.parent) if above is not None else (labels, labels)
    sources = []
    for stem, file in files:
        inner = Path(stem or file.relative_to(root))
        beside = file.parent.parent if file.parent.name == _TRUTH else base / inner
        images = (*(base / folder / inner for folder in _IMAGES), beside / "img1")
        sources.append(_Source(base.name if inner == Path() else inner.as_posix(), file, images))
    return _Place(base, root, tuple(sources))


def _first_png(path: Path) -> Path | None:
    """A mask PNG of 16 bits in `path`/instances or `path`."""
    file = first_mask(path / MASKS if (path / MASKS).is_dir() else path)
    header = read_header(file) if file else None
    return file if header and header.numbers and header.bits == 16 else None


def _text_files(path: Path) -> list[tuple[str, Path]]:
    """(clip, file) of the text files at `path`."""
    if path.is_file():
        found = [(path.stem, path)] if path.suffix.lower() == ".txt" else []
    else:
        folder = path / LINES if (path / LINES).is_dir() else path
        found = [(file.stem, file) for file in in_order(folder.glob("*.txt")) if file.name != NAMES and file.is_file()]
        if not found:
            files = in_order([*path.glob(f"{_TRUTH}/{_TRUTH_FILE}"), *path.glob(f"*/{_TRUTH}/{_TRUTH_FILE}")])
            found = [(file.parent.parent.name, file) for file in files if file.is_file()]
    return found


def _class_names(path: Path) -> dict[int, str]:
    """The names of classes 1, 2, ... from labels.txt; none if there is no such file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > 1 << 20:
        raise Integrity("a file of class names of over 1 MiB", where=str(path), fix="write a name per line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise Integrity("not UTF-8 text", where=str(path), fix="save it as UTF-8") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) < len(names):
        raise Integrity("two classes have one name", where=str(path), fix="give each class a name of its own")
    return dict(enumerate(names, 1))


def _read_pngs(source: _Source, known: Mapping[int, str], *, listed: bool) -> tuple[_Objects, list[str]]:
    """The objects of a folder of PNGs, and the stems of its frames."""
    files = {frame_number(file.stem): file for file in masks_in(source.path)}
    stems = {number: file.stem for number, file in files.items()}
    if listed:  # CVAT and datumaro write labels.txt, and no PNG for a frame without objects
        images = next((images_in(folder) for folder in source.images if folder.is_dir()), [])
        stems |= {frame_number(image.stem): image.stem for image in images}
    order = ordered(stems)
    objects = _Objects()
    for t, number in enumerate(order):
        if number not in files:
            continue
        file = files[number]
        numbers, header = read_numbers(file, bits=(16,), fix=_FIX)
        objects.size = sizes_equal(objects.size, header, file)
        for value, mask in masks_of(numbers).items():
            _add(objects, value, value // PER_CLASS, t, mask, known, str(file))
    return objects, [stems[number] for number in order]


def _read_txt(source: _Source, known: Mapping[int, str], *, listed: bool) -> tuple[_Objects, list[str]]:
    """The objects of a text file, and the stems of its frames."""
    lines = list(mots_txt.read_lines(source.path))
    if not lines:
        raise Integrity("no lines", where=str(source.path), fix="remove the file")
    images = next((found for folder in source.images if folder.is_dir() and (found := images_in(folder))), [])
    frames = {line.frame for line in lines}
    stems = {number: image.stem for image in images if isinstance(number := frame_number(image.stem), int)}
    order = sorted(stems.keys() | frames if stems else range(min(frames), max(frames) + 1))
    rows = {number: t for t, number in enumerate(order)}
    objects = _Objects()
    seen = set[tuple[int, int]]()
    for line in lines:
        if objects.size not in (None, line.size):
            what = f"a mask of {line.size} pixels in a clip of {objects.size} (height, width)"
            raise Integrity(what, where=line.where, fix="give all masks of a clip the size of its frames")
        if (line.frame, line.id) in seen and line.category != IGNORED:
            what = f"object {line.id} is in frame {line.frame} twice"
            raise Integrity(what, where=line.where, fix="write an object's mask of a frame in one line")
        seen.add((line.frame, line.id))
        objects.size = line.size
        if coco_mask.area(line.mask):
            _add(objects, line.id, line.category, rows[line.frame], line.mask, known, line.where)
    return objects, [stems.get(number) or f"{number:06d}" for number in order]


def _add(
    objects: _Objects, identity: int, category: int, t: int, mask: Mask, known: Mapping[int, str], where: str
) -> None:
    if category == IGNORED and known.get(category, IGNORED_NAME) == IGNORED_NAME:
        objects.ignored.setdefault(t, []).append(mask)
    elif category not in known:
        what = f"object {identity} is of class {category}, which has no name"
        fix = f"classes are {', '.join(f'{n} {name}' for n, name in CLASSES.items())}; others need {NAMES} beside them"
        raise Integrity(what, where=where, fix=fix)
    elif known[category] == IGNORED_NAME:
        objects.ignored.setdefault(t, []).append(mask)
    else:
        objects.masks.append((identity, category, t, mask, where))
