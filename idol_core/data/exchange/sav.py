"""SA-V (Segment Anything Video), val and test: a folder of mask PNGs per object, as objects may overlap.

Annotations_6fps/CLIP/000/00004.png is object 000 in JPEGImages_24fps/CLIP/00004.jpg; a pixel that is not 0 is the
object's. Every fourth image has masks. The form has no classes.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from idol_core.data.exchange.labels import LabelledClip, LabelledTrack, LabelSet, Mask, count_of
from idol_core.data.exchange.mask_folders import (
    base_of,
    find_images,
    first_mask,
    frame_number,
    mask_folders,
    masks_in,
    ordered,
    sizes_equal,
)
from idol_core.data.exchange.mask_images import masks_of, read_header, read_numbers
from idol_core.errors import Integrity, Missing

_CATEGORY = "object"  # of every object: the form has no classes
_FOLDERS = ("Annotations_6fps", "Annotations")
_IMAGES = ("JPEGImages_24fps", "JPEGImages_6fps", "JPEGImages")
_OBJECT = re.compile(r"\d{3,9}")
_FIX = "save a PNG of one bit per object and frame; --format davis reads PNGs of several objects"


def recognises(path: Path) -> bool:
    """Whether `path` is a folder of mask PNGs with a folder per object."""
    return path.is_dir() and has_object_folders(_masks(path))


def has_object_folders(root: Path) -> bool:
    """Whether PNGs are in CLIP/OBJECT/, an object's name being of three or more digits; or in OBJECT/, of one bit."""
    file = first_mask(root)
    below = file.parent.relative_to(root).parts if file else ()
    if file is None or not below or not _OBJECT.fullmatch(below[-1]):
        return False
    header = read_header(file)
    if header is None or not header.numbers or header.bits == 16:
        return False
    return len(below) == 2 or (len(below) == 1 and header.bits == 1)


def read(path: Path) -> LabelSet:
    """Read a data set's folder, its annotations, or the folder of a clip. All objects are of the class `object`.

    A clip has the frames that any object has a PNG of; an object's id is the number of its folder.

    Raises Missing if there are no PNGs, Integrity for another layout, a PNG of several objects, colors or 16 bits, or
    of another size than its clip.
    """
    root = _masks(path)
    base, _ = base_of(root, _FOLDERS)
    clips: dict[Path, list[Path]] = {}
    for folder in mask_folders(root):
        below = folder.relative_to(root)
        if len(below.parts) not in (1, 2) or not _OBJECT.fullmatch(below.name):
            fix = "name object folders by numbers such as 000; --format davis reads PNGs of several objects"
            raise Integrity("PNGs that are not in CLIP/OBJECT/", where=str(folder), fix=fix)
        clips.setdefault(below.parent, []).append(folder)
    if not clips:
        raise Missing("no mask PNGs", where=str(root), fix="name the folder that holds Annotations_6fps")
    left_out = Counter[str]()
    found = [_read_clip(root.name if name == Path() else name.as_posix(), objects, base, left_out)
             for name, objects in clips.items()]  # fmt: skip
    note = f"classes: the masks have none, so that every object is of the class '{_CATEGORY}'"
    return LabelSet(
        tuple(found), (_CATEGORY,), folder=str(base), left_out=(note, *count_of(left_out)), mask_folder=str(root)
    )


def _masks(path: Path) -> Path:
    path = path.absolute()
    return next((path / name for name in _FOLDERS if (path / name).is_dir()), path)


def _read_clip(name: str, objects: list[Path], base: Path, left_out: Counter[str]) -> LabelledClip:
    files = {folder: {frame_number(file.stem): file for file in masks_in(folder)} for folder in objects}
    stems = {number: file.stem for own in files.values() for number, file in own.items()}
    order = ordered(stems)
    size: tuple[int, int] | None = None
    tracks: dict[int, LabelledTrack] = {}
    for folder, own in files.items():
        identity = int(folder.name)
        if identity in tracks:
            raise Integrity(f"two folders of object {identity}", where=str(folder), fix="remove one of them")
        masks: dict[int, Mask] = {}
        for t, number in enumerate(order):
            if number not in own:
                left_out["masks of objects in single frames, as their PNG is not there"] += 1
                continue
            numbers, header = read_numbers(own[number], bits=(1, 2, 4, 8), fix=_FIX)
            size = sizes_equal(size, header, own[number])
            seen = list(masks_of(numbers).values())
            if len(seen) > 1:
                what = f"the PNG holds {len(seen)} objects, it should be of one"
                raise Integrity(what, where=str(own[number]), fix="--format davis reads PNGs of several objects")
            if seen:
                masks[t] = seen[0]
        tracks[identity] = LabelledTrack(identity, _CATEGORY, masks)
    assert size is not None
    frames = find_images(base, [base / folder / name for folder in _IMAGES], name, [stems[number] for number in order])
    left_out["images without a mask file"] += frames.without
    return LabelledClip(name, *size, frames.files, tuple(track for track in tracks.values() if track.masks))
