"""CVAT for video 1.1: one XML file, a track per object with its shapes in key frames.

A file is an export of a task, a job or a project (several tasks, each a clip). Frame numbers are those of the video.
CVAT knows no tracks of masks: a mask is exported as a track of one frame. Coordinates are pixels, (0, 0) the corner of
the frame. Source: docs.cvat.ai, "XML annotation format", and CVAT's own reader and writer of 2023 to 2025.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from idol_core.data.annotations.entries import told_of
from idol_core.data.annotations.fields import as_integer, as_text, shown
from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.cvat_interpolation import Shape, corners_between, masks_of_track
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelledTrack,
    LabelSet,
    VideoFrames,
    check_cells,
    checked_size,
    count_of,
    distinct,
    placed,
    polygon_mask,
)
from idol_core.data.exchange.xml_elements import attribute, root_children, root_name, whole_attribute, whole_child
from idol_core.data.image_files import images_in
from idol_core.errors import Integrity

_SHAPES = ("polygon", "mask", "box", "ellipse", "polyline", "points", "cuboid", "skeleton")
_MOST_FRAMES = 2**20
_MOST_CORNERS = 2**24  # of the polygons between key frames of a clip
_MEND = "export it again as CVAT for video 1.1"


@dataclass(frozen=True)
class _Task:
    """A task of the `meta` element, or a job: one clip."""

    id: str
    name: str
    video: str
    height: int
    width: int
    start: int  # number in the video of the first frame
    step: int
    length: int | None  # frames; None: not in the file
    of_images: bool  # the task was made from images, not from a video


class _Track(NamedTuple):
    """A track as the file has it."""

    id: int
    label: str
    shapes: dict[int, Shape]  # by index of the frame in the clip
    line: int


def recognises(path: Path) -> bool:
    """Whether `path` is a CVAT XML file, or a folder that holds one."""
    return bool(_files(path))


def read(path: Path) -> LabelSet:
    """Read one XML file, or all of a folder. Shapes between key frames are interpolated as CVAT does.

    Raises Missing or Integrity, with the line of the track in `where`.
    """
    clips: list[LabelledClip] = []
    categories: dict[str, None] = {}
    left_out = Counter[str]()
    for file in _files(path):
        clips += _read_file(file, categories, left_out)
    folder = path if path.is_dir() else path.parent
    return LabelSet(distinct(clips), tuple(categories), folder=str(folder), left_out=count_of(left_out))


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.xml")) if path.is_dir() else [path] if path.suffix.lower() == ".xml" else []
    return [file for file in files if file.is_file() and root_name(file) == "annotations"]


def _read_file(file: Path, categories: dict[str, None], left_out: Counter[str]) -> list[LabelledClip]:
    tasks: dict[str, _Task] = {}
    tracks: dict[str, list[_Track]] = {}
    for element, line in root_children(file):
        with told_of(f"{file}:{line}" + (f", track {element.get('id')}" if element.tag == "track" else "")):
            if element.tag == "meta":
                tasks = {task.id: task for task in _tasks(element, file.stem)}
                tracks = {number: [] for number in tasks}
                categories |= dict.fromkeys(_label_names(element))
            elif element.tag == "track":
                task = _task_of(element, tasks)
                shapes = _shapes(element, task, left_out)
                if any(shape.mask is not None for shape in shapes.values()):
                    label = as_text(attribute(element, "label").strip(), "label")
                    categories.setdefault(label)
                    tracks[task.id].append(_Track(whole_attribute(element, "id"), label, shapes, line))
            elif element.tag == "image":
                what = "this is CVAT for images, which has no tracks"
                fix = "export the task as CVAT for video 1.1, or as COCO 1.0"
                raise Integrity(what, where=f"{file}:{line}", fix=fix)
    if not tasks:
        raise Integrity("no task, job or project in `meta`", where=str(file), fix=_MEND)
    return [_clip(task, tracks[task.id], file) for task in tasks.values()]


def _clip(task: _Task, found: list[_Track], file: Path) -> LabelledClip:
    length = task.length or 1 + max(max(track.shapes) for track in found) if found or task.length else 1
    with told_of(str(file)):
        check_cells(len(found) * length)
        corners = sum(corners_between(track.shapes) for track in found)
        if corners > _MOST_CORNERS:
            raise ValueError(f"polygons of {corners:,} corners in all between key frames, at most {_MOST_CORNERS:,}")
    tracks, ids = [], set[int]()
    for track in found:
        with told_of(f"{file}:{track.line}, track {track.id}"):
            late = [t for t, shape in track.shapes.items() if t >= length and shape.mask is not None]
            if late:
                raise ValueError(f"a shape in frame {task.start + late[0] * task.step}, after the last of the clip")
            if track.id in ids:
                raise ValueError(f"two tracks have the id {track.id}")
            ids.add(track.id)
            masks = masks_of_track(track.shapes, length, task.height, task.width)
        tracks.append(LabelledTrack(track.id, track.label, masks))
    return LabelledClip(task.name, task.height, task.width, _frames(task, length, file), tuple(tracks))


def _frames(task: _Task, length: int, file: Path) -> ImageFiles | VideoFrames:
    """Exports with images have them beside the file, one per frame of the task; else the frames are the video's."""
    for folder in (file.parent / "images" / task.name, file.parent / "images"):
        names = images_in(folder) if folder.is_dir() else []
        if len(names) == length:
            if task.of_images:
                check_order(names)
            return ImageFiles(tuple(name.relative_to(file.parent).as_posix() for name in names))
    return VideoFrames(task.video, range(task.start, task.start + length * task.step, task.step), task.of_images)


def check_order(files: Sequence[Path]) -> None:
    """Raise Integrity if the order of images depends on how they are sorted: CVAT's file has numbers, no names.

    CVAT sorts the images of a task by name (img_10 before img_2) unless its user chose another order.
    """
    for one, other in itertools.pairwise(files):
        if one.name > other.name:
            what = f"CVAT may have numbered {other.name} before {one.name}, which its file does not say"
            fix = "export the task as COCO 1.0, which has the names of images"
            raise Integrity(what, where=str(one.parent), fix=fix)


def _tasks(meta: Element, stem: str) -> list[_Task]:
    found = [*meta.iter("task"), *meta.iter("job")]
    return [_task(task, meta, stem) for task in found]


def _task(task: Element, meta: Element, stem: str) -> _Task:
    size = task.find("original_size") if task.find("original_size") is not None else meta.find("original_size")
    if size is None:
        raise ValueError("no `original_size` in `meta`: the size of the frames is unknown")
    height, width = checked_size(whole_child(size, "height"), whole_child(size, "width"))
    source = task.findtext("source") or meta.findtext("source") or ""
    step = re.search(r"step\s*=\s*(\d{1,6})", task.findtext("frame_filter") or "")
    length = whole_child(task, "size") if task.find("size") is not None else None
    start = whole_child(task, "start_frame") if task.find("start_frame") is not None else 0
    if start < 0 or (length is not None and not 0 < length <= _MOST_FRAMES):
        raise ValueError(f"a task of {length} frames from frame {start}")
    name = as_text((task.findtext("name") or stem).strip(), "name")
    return _Task(
        (task.findtext("id") or "").strip(), _plain(name), as_text(source.strip(), "source"), height, width, start,
        max(int(step.group(1)) if step else 1, 1), length,
        (task.findtext("mode") or meta.findtext("mode") or "").strip() == "annotation",
    )  # fmt: skip


def _plain(name: str) -> str:
    """A clip's name as it can be used for a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[:100] or "clip"


def _label_names(meta: Element) -> Iterator[str]:
    for label in meta.iter("label"):
        if label.findtext("name") and label.find("parent") is None:
            yield (label.findtext("name") or "").strip()


def _task_of(track: Element, tasks: dict[str, _Task]) -> _Task:
    asked = track.get("task_id")
    if not tasks:
        raise ValueError("a track before any task, job or project in `meta`")
    if asked is None and len(tasks) == 1:
        return next(iter(tasks.values()))
    if asked not in tasks:
        raise ValueError(f"task_id {shown(asked)} is not in `meta`")
    return tasks[asked]


def _shapes(track: Element, task: _Task, left_out: Counter[str]) -> dict[int, Shape]:
    """The polygons and masks of a track by index of the frame; other shapes are counted in `left_out`."""
    found: dict[int, Shape] = {}
    for shape in track:
        if shape.tag in _SHAPES[2:]:
            left_out[f"shapes of the kind '{shape.tag}', which have no mask"] += shape.get("outside") != "1"
            continue
        if shape.tag not in _SHAPES:
            continue
        number = whole_attribute(shape, "frame")
        index, off = divmod(number - task.start, task.step)
        if index < 0 or off or index > _MOST_FRAMES:
            every = f" (frames from {task.start}, every {task.step})" if task.step > 1 else ""
            raise ValueError(f"frame {number} is not one of the task{every}")
        if index in found:
            raise ValueError(f"two shapes in frame {number}")
        try:
            found[index] = _shape(shape, task)
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from None
    return found


def _shape(shape: Element, task: _Task) -> Shape:
    outside = shape.get("outside") == "1"
    if shape.tag == "mask":
        return Shape(None if outside else _mask(shape, task), None)
    points = _points(attribute(shape, "points"))
    mask = polygon_mask([points.ravel().tolist()], task.height, task.width)
    return Shape(None if outside or not mask else mask, points)


def _points(text: str) -> np.ndarray:
    """Parse `x,y;x,y;...` to [n, 2]."""
    try:
        pairs = [[float(v) for v in pair.split(",")] for pair in text.split(";")]
    except ValueError:
        raise ValueError(f"points {shown(text)} are no pairs of numbers x,y;x,y") from None
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"points {shown(text)} are no pairs of numbers x,y;x,y")
    return np.array(pairs, np.float64)


def _mask(shape: Element, task: _Task) -> RLE | None:
    """A mask: run lengths in row order, zeros first, of a box `left`, `top`, `width`, `height`."""
    height, width = checked_size(whole_attribute(shape, "height"), whole_attribute(shape, "width"))
    left, top = whole_attribute(shape, "left"), whole_attribute(shape, "top")
    runs = [as_integer(run.strip()) for run in attribute(shape, "rle").split(",")]
    numbers = [run for run in runs if run is not None and run >= 0]
    if len(numbers) != len(runs) or sum(numbers) != height * width:
        raise ValueError(f"the run lengths of a mask do not add up to its {height} x {width} pixels")
    values = np.arange(len(numbers)) % 2 == 1
    return placed(np.repeat(values, numbers).reshape(height, width), left, top, task.height, task.width)
