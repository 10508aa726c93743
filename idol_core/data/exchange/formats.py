"""The label formats, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from idol_core.data.exchange import (
    burst,
    coco,
    cvat,
    cvat_writer,
    davis,
    kitti_mots,
    label_studio,
    labelme,
    mots,
    mots_writer,
    sav,
    tao,
    yolo,
    ytvis,
)
from idol_core.data.exchange.flat_masks import without_crowds
from idol_core.data.exchange.labels import LabelSet
from idol_core.errors import InvalidInput, Missing


def _unchanged(labels: LabelSet) -> LabelSet:
    return labels


class Format(NamedTuple):
    """A label format that is read and written: what it is, and the functions of its file."""

    about: str
    recognises: Callable[[Path], bool]  # whether a file or folder is of the format; looks at beginnings only
    read: Callable[[Path], LabelSet]
    write: Callable[[LabelSet, Path], list[Path]]  # fitted labels into a folder; returns what was written
    images: str | None = None  # folder below the written ones for the frames (`labels.image_names`); None: none needed
    fit: Callable[[LabelSet], LabelSet] = _unchanged  # to what the format can hold; `left_out` says what is lost
    alone: bool = False  # whether labels are of use without the frames beside them


class ReadFormat(NamedTuple):
    """A label format that is read and not written."""

    about: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], LabelSet]


def _format(about: str, module: ModuleType, *, images: str) -> Format:
    return Format(about, module.recognises, module.read, module.write, images)


def _masks(about: str, reader: ModuleType, writer: ModuleType) -> Format:
    return Format(about, reader.recognises, reader.read, writer.write, writer.IMAGES, writer.fit, alone=True)


def _read_only(about: str, reader: ModuleType) -> ReadFormat:
    return ReadFormat(about, reader.recognises, reader.read)


FORMATS: dict[str, Format] = {
    "cvat": Format("CVAT for video 1.1 (XML)", cvat.recognises, cvat.read, cvat_writer.write, fit=cvat_writer.fit),
    "labelme": _format("labelme (a JSON file per image)", labelme, images="")._replace(fit=without_crowds),
    "coco": _format("COCO with track ids (CVAT, Roboflow)", coco, images="images")._replace(alone=True),
    "label-studio": _format("Label Studio (JSON)", label_studio, images="images")._replace(fit=without_crowds),
    "yolo": _format("YOLO segmentation (no identities)", yolo, images="images")._replace(fit=without_crowds),
    "ytvis": _format("YouTube-VIS, OVIS", ytvis, images="JPEGImages"),
    "davis": _masks("DAVIS, MOSE, LVOS (palette PNGs)", davis, davis),
    "mots": _masks("MOTS (PNGs of 16 bits, or text)", mots, mots_writer),
    "kitti-mots": _masks("KITTI-MOTS (as MOTS, frames from 0)", kitti_mots, kitti_mots),
}

READERS: dict[str, Format | ReadFormat] = FORMATS | {  # every format that is read
    "sav": _read_only("SA-V (a folder of PNGs per object)", sav),
    "burst": _read_only("BURST (JSON)", burst),
    "tao": _read_only("TAO with masks (JSON)", tao),
}


def find_format(path: Path) -> str:
    """Name of the format of a file or folder.

    Raises Missing if there is no such path, InvalidInput if no format, or more than one, recognises it.
    """
    if not path.exists():
        raise Missing("no such file or folder", where=str(path), fix="check the path")
    found = [name for name, form in READERS.items() if form.recognises(path)]
    if len(found) == 1:
        return found[0]
    what = f"it may be of {' or '.join(found)}" if found else "no label format that is known"
    raise InvalidInput(what, where=str(path), fix=f"--format {'|'.join(found or READERS)}")
