"""DAVIS, and what is laid out like it (MOSE, LVOS, YouTube-VOS): a palette PNG per frame, its indices the objects.

Annotations/480p/CLIP/00000.png is of JPEGImages/480p/CLIP/00000.jpg; the unsupervised labels of DAVIS 2017 are in
Annotations_unsupervised/480p. MOSE, LVOS and YouTube-VOS have no folder for the resolution. Index 0 is the background,
255 is void: pixels that count neither for nor against a result. The form has no classes.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from idol_core.data.exchange.flat_masks import flattened, frames_named, one_crowd, own_stems, with_note
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelledTrack,
    LabelSet,
    Mask,
    count_of,
    image_names,
)
from idol_core.data.exchange.mask_folders import base_of, find_images, first_mask, mask_folders, masks_in, sizes_equal
from idol_core.data.exchange.mask_images import (
    masks_of,
    painted,
    read_header,
    read_numbers,
    write_palette,
)
from idol_core.data.exchange.sav import has_object_folders
from idol_core.errors import InvalidInput, Missing

CATEGORY = "object"  # of every object: the form has no classes
VOID = 255
OUT, IMAGES = "Annotations/480p", "JPEGImages/480p"
_FOLDERS = ("Annotations", "Annotations_unsupervised")
_RESOLUTION = re.compile(r"\d+p|Full-Resolution")
_FIX = "save masks as palette (indexed) PNGs, an index per object; --format mots reads masks of 16 bits"


class _Place(NamedTuple):
    masks: Path  # folder of the clips' folders
    base: Path  # folder that holds Annotations and JPEGImages
    images: Path  # folder of the clips' image folders


def recognises(path: Path) -> bool:
    """Whether `path` is a folder with `Annotations`, or one of palette PNGs, and not laid out as SA-V's."""
    if not path.is_dir():
        return False
    place = _place(path)
    file = first_mask(place.masks)
    if file is None or has_object_folders(place.masks):
        return False
    header = read_header(file)
    return place.masks != place.base or (header is not None and header.palette)


def read(path: Path) -> LabelSet:
    """Read a data set's folder, its `Annotations`, or the folder of a clip. All objects are of the class `object`.

    A clip has the frames that there is a PNG of. Void is a crowd, with id 255. If the PNGs of a clip are grey and hold
    0 and 255 only (DAVIS 2016), 255 is the object, with id 1.

    Raises Missing if there are no PNGs, Integrity for one of colors or 16 bits, or of another size than its clip.
    """
    place = _place(path)
    left_out = Counter[str]()
    clips = []
    for folder in mask_folders(place.masks):
        below = folder.relative_to(place.masks)
        files = masks_in(folder)
        name = place.masks.name if below == Path() else below.as_posix()
        frames = find_images(place.base, [place.images / below], name, [file.stem for file in files])
        left_out["images without a mask file"] += frames.without
        clips.append(_read_clip(name, files, frames.files))
    if not clips:
        raise Missing("no mask PNGs", where=str(place.masks), fix="name the folder that holds Annotations")
    notes = [f"classes: the masks have none, so that every object is of the class '{CATEGORY}'"]
    others = [folder for folder in map(place.base.joinpath, _FOLDERS) if folder.is_dir()]
    if _RESOLUTION.fullmatch(place.masks.name):
        others += _resolutions(place.masks.parent)
    for other in others:
        if not place.masks.is_relative_to(other):
            notes.append(f"{other.relative_to(place.base)}: name that folder to import it")
    return LabelSet(
        tuple(clips),
        (CATEGORY,),
        folder=str(place.base),
        left_out=(*notes, *count_of(left_out)),
        mask_folder=str(place.masks),
    )


def fit(labels: LabelSet) -> LabelSet:
    """What DAVIS can hold: an object per pixel, ids of 1 to 254, no classes, one region of void.

    Raises InvalidInput for a clip of more than 254 tracks.
    """
    labels = frames_named(flattened(labels), own_stems)
    clips, changed = [], 0
    for clip in labels.clips:
        objects = [track for track in clip.tracks if not track.crowd]
        if len(objects) >= VOID:
            what = f"clip '{clip.name}' has {len(objects)} tracks, DAVIS holds {VOID - 1}"
            raise InvalidInput(what, where=clip.name, fix="--format ytvis, or a higher --threshold")
        keeps = all(0 < track.id < VOID for track in objects)
        changed += not keeps
        tracks = [
            replace(track, id=track.id if keeps else number, category=CATEGORY)
            for number, track in enumerate(objects, 1)
        ]
        clips.append(replace(clip, tracks=(*tracks, *one_crowd(clip, VOID, CATEGORY))))
    fitted = replace(labels, clips=tuple(clips), categories=(CATEGORY,), tracked=True)
    if labels.categories != (CATEGORY,):
        fitted = with_note(fitted, "classes: DAVIS has none")
    if changed:
        fitted = with_note(fitted, f"ids of {changed} clips: they are numbered anew, as DAVIS holds 1 to {VOID - 1}")
    return fitted


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write labels that `fit` returned: a palette PNG for every frame below `Annotations/480p`."""
    for clip in labels.clips:
        for t, name in enumerate(image_names(clip)):
            shown = [
                (VOID if track.crowd else track.id, mask)
                for track in clip.tracks
                if isinstance(mask := track.masks.get(t), dict)
            ]
            write_palette(painted(shown, clip.height, clip.width), (out / OUT / name).with_suffix(".png"))
    return [out / OUT / clip.name for clip in labels.clips]


def _place(path: Path) -> _Place:
    path = path.absolute()
    masks = next((path / name for name in _FOLDERS if (path / name).is_dir()), path)
    inner = _resolutions(masks)
    masks = next((folder for folder in inner if folder.name == "480p"), inner[0] if inner else masks)
    base, below = base_of(masks, _FOLDERS)
    return _Place(masks, base, base / "JPEGImages" / below)


def _resolutions(masks: Path) -> list[Path]:
    folders = masks.iterdir() if masks.is_dir() else ()
    return sorted(folder for folder in folders if _RESOLUTION.fullmatch(folder.name) and folder.is_dir())


def _read_clip(name: str, files: list[Path], frames: ImageFiles) -> LabelledClip:
    size: tuple[int, int] | None = None
    masks: dict[int, dict[int, Mask]] = {}
    grey = True
    for t, file in enumerate(files):
        numbers, header = read_numbers(file, bits=(1, 2, 4, 8), fix=_FIX)
        size = sizes_equal(size, header, file)
        grey = grey and not header.palette
        for number, mask in masks_of(numbers).items():
            masks.setdefault(number, {})[t] = mask
    assert size is not None
    if grey and set(masks) == {VOID}:
        masks = {1: masks[VOID]}
    tracks = [LabelledTrack(number, CATEGORY, found, number == VOID) for number, found in sorted(masks.items())]
    return LabelledClip(name, *size, frames, tuple(tracks))
