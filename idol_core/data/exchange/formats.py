"""The label formats, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from idol_core.data.exchange import coco, cvat, cvat_writer, label_studio, labelme, yolo, ytvis
from idol_core.data.exchange.labels import LabelSet
from idol_core.errors import InvalidInput, Missing


class Format(NamedTuple):
    """A label format: what it is, and the functions of its file."""

    about: str
    recognises: Callable[[Path], bool]  # whether a file or folder is of the format; looks at beginnings only
    read: Callable[[Path], LabelSet]
    write: Callable[[LabelSet, Path], list[Path]]  # into a folder; returns what was written
    images: str | None = None  # folder below the written ones for the frames (`labels.image_names`); None: none needed


def _format(about: str, reader: ModuleType, writer: ModuleType | None = None, *, images: str | None = None) -> Format:
    return Format(about, reader.recognises, reader.read, (writer or reader).write, images)


FORMATS: dict[str, Format] = {
    "cvat": _format("CVAT for video 1.1 (XML)", cvat, cvat_writer),
    "labelme": _format("labelme (a JSON file per image)", labelme, images=""),
    "coco": _format("COCO with track ids (CVAT, Roboflow)", coco, images="images"),
    "label-studio": _format("Label Studio (JSON)", label_studio, images="images"),
    "yolo": _format("YOLO segmentation (no identities)", yolo, images="images"),
    "ytvis": _format("YouTube-VIS, OVIS", ytvis, images="JPEGImages"),
}


def find_format(path: Path) -> str:
    """Name of the format of a file or folder.

    Raises Missing if there is no such path, InvalidInput if no format, or more than one, recognises it.
    """
    if not path.exists():
        raise Missing("no such file or folder", where=str(path), fix="check the path")
    found = [name for name, form in FORMATS.items() if form.recognises(path)]
    if len(found) == 1:
        return found[0]
    what = f"it may be of {' or '.join(found)}" if found else "no label format that is known"
    raise InvalidInput(what, where=str(path), fix=f"--format {'|'.join(found or FORMATS)}")
