"""Write MOTS: PNGs of 16 bits, a text file per clip, and labels.txt where classes are not cars and pedestrians."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from idol_core.data.exchange.flat_masks import flattened, frames_named, one_crowd, with_note
from idol_core.data.exchange.labels import LabelledClip, LabelledTrack, LabelSet, image_names
from idol_core.data.exchange.mask_images import painted, write_grey
from idol_core.data.exchange.mots import CLASSES, IGNORED, IGNORED_NAME, LINES, MASKS, NAMES, PER_CLASS
from idol_core.data.exchange.mots_txt import LAST_FRAME, write_lines
from idol_core.errors import InvalidInput

IMAGES = "images"
_MOST_CLASSES = 64  # class * 1000 + number has 16 bits


def fit(labels: LabelSet) -> LabelSet:
    """What MOTS can hold: an object per pixel, ids of class * 1000 + number, frames numbered from 1.

    Raises InvalidInput for more than 64 classes, or 1000 tracks of a class in a clip.
    """
    return fit_from(labels, first=1)


def fit_from(labels: LabelSet, *, first: int) -> LabelSet:
    """As `fit`, with frames numbered from `first`, 0 or 1; where frames have numbers, these are kept if they can be."""
    labels = flattened(labels)
    shifted = sum(_numbers(clip, first) != _numbers(clip, 0) for clip in labels.clips)
    labels = frames_named(labels, lambda clip: [f"{number:06d}" for number in _numbers(clip, first)])
    if shifted:
        labels = with_note(labels, f"frame numbers of {shifted} clips: they are higher by one, as MOTS counts from 1")
    classes = {name: number for number, name in _classes(labels).items()}
    clips, changed = [], 0
    for clip in labels.clips:
        objects = [track for track in clip.tracks if not track.crowd]
        numbered = _numbered(clip.name, objects, classes)
        changed += numbered != objects
        ignored = one_crowd(clip, IGNORED * PER_CLASS, (labels.categories or ("",))[0])
        clips.append(replace(clip, tracks=(*numbered, *ignored)))
    fitted = replace(labels, clips=tuple(clips), tracked=True)
    return with_note(fitted, f"ids of {changed} clips: MOTS has class * {PER_CLASS} + number") if changed else fitted


def write(labels: LabelSet, out: Path) -> list[Path]:
    """Write labels that `fit` returned: `instances` and `instances_txt`, with labels.txt in both where needed."""
    classes = _classes(labels)
    numbers = {name: number for number, name in classes.items()}
    for clip in labels.clips:
        lines = []
        for t, name in enumerate(image_names(clip)):
            shown = []
            for track in clip.tracks:
                mask = track.masks.get(t)
                if isinstance(mask, dict):
                    category = IGNORED if track.crowd else numbers[track.category]
                    identity = IGNORED * PER_CLASS if track.crowd else track.id
                    shown.append((identity, mask))
                    lines.append((int(PurePosixPath(name).stem), identity, category, mask))
            write_grey(painted(shown, clip.height, clip.width), (out / MASKS / name).with_suffix(".png"))
        write_lines(lines, out / LINES / f"{clip.name}.txt")
    if not set(classes.items()) <= set(CLASSES.items()):
        for folder in (MASKS, LINES):
            (out / folder / NAMES).write_text("".join(f"{name}\n" for name in classes.values()), encoding="utf-8")
    return [out / MASKS, out / LINES]


def _classes(labels: LabelSet) -> dict[int, str]:
    """Names by number: MOTS's own if there are no others, else in the order of the set; 10 is the region to ignore."""
    own = {number: name for number, name in CLASSES.items() if name in labels.categories}
    if len(own) == len(labels.categories):
        return own
    names = list(labels.categories)
    if len(names) >= IGNORED:
        names.insert(IGNORED - 1, IGNORED_NAME)
    if len(names) > _MOST_CLASSES or any(name.splitlines() != [name.strip()] for name in names):
        what = f"{len(labels.categories)} classes: MOTS holds {_MOST_CLASSES}, with names of a line"
        raise InvalidInput(what, where="--format mots", fix="--format ytvis or coco")
    return dict(enumerate(names, 1))


def _numbered(clip: str, objects: list[LabelledTrack], classes: dict[str, int]) -> list[LabelledTrack]:
    """The tracks with ids of class * 1000 + number: their own if they are so, else with their own as number."""
    if all(track.id // PER_CLASS == classes[track.category] for track in objects):
        return objects
    small = all(0 <= track.id < PER_CLASS for track in objects)
    count = dict.fromkeys(classes, 0)
    found = []
    for track in objects:
        number = track.id if small else count[track.category]
        if number >= PER_CLASS:
            what = f"clip '{clip}' has over {PER_CLASS} tracks of class '{track.category}'"
            raise InvalidInput(what, where=clip, fix="--format ytvis, or a higher --threshold")
        count[track.category] += 1
        found.append(replace(track, id=classes[track.category] * PER_CLASS + number))
    return found


def _numbers(clip: LabelledClip, first: int) -> list[int]:
    """Frame numbers: those of the frames, one higher if they begin before `first`; without any, `first`, ...."""
    stems = [PurePosixPath(name).stem for name in image_names(clip)]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) < 19]
    if not numbers or len(set(numbers)) < len(stems) or numbers != sorted(numbers) or numbers[-1] >= LAST_FRAME:
        return list(range(first, first + len(stems)))
    return [number + first for number in numbers] if numbers[0] < first else numbers
