"""Ground truth that was published later, in a file of its own beside the annotations: OVIS's `validGT.json`."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from idol_core.data.annotations.index import AnnotationIndex
from idol_core.errors import Integrity

TRUTH_FILES = {"annotations_valid.json": "validGT.json"}  # annotation file without masks: file with them


def truth_place(annotations: Path) -> Path | None:
    """Where the ground truth of an annotation file without masks belongs; None if no set publishes such a file."""
    name = TRUTH_FILES.get(annotations.name)
    return annotations.with_name(name) if name else None


def fitting_truth(truth: AnnotationIndex, index: AnnotationIndex, *, where: Path, annotations: Path) -> AnnotationIndex:
    """Return `truth` if it is of the same classes, videos and frames as `index`, the annotations without masks.

    Videos are paired by id, in any order; frames are compared by name, or by number if `truth` doesn't name them (it
    gets the names of `index`).

    Raises Integrity, with the id of the first video or class that differs, or if `truth` has no masks.
    """

    def refuse(what: str, part: str = "") -> NoReturn:
        fix = f"download {where.name} again, or remove it to go without a score"
        raise Integrity(f"not the ground truth of {annotations}: {what}", where=f"{where}{part}", fix=fix)

    classes = [dict(zip(i.category_ids.tolist(), i.category_names, strict=True)) for i in (truth, index)]
    for number in sorted(classes[0].keys() | classes[1].keys()):
        own, other = (known.get(number) for known in classes)
        if own != other:
            refuse(f"class {number} is {own!r} here and {other!r} there", f":categories, id {number}")
    rows = {number: row for row, number in enumerate(index.video_ids.tolist())}
    names: list[str] = []
    for row, number in enumerate(truth.video_ids.tolist()):
        part = f":videos, id {number}"
        if number not in rows:
            refuse(f"no video {number} there", part)
        other_row = rows.pop(number)
        sizes = [i.video_sizes[r].tolist() for i, r in ((truth, row), (index, other_row))]
        if sizes[0] != sizes[1]:
            refuse(f"video {number} has height and width {sizes[0]} here and {sizes[1]} there", part)
        own_names, other_names = _frame_names(truth, row), _frame_names(index, other_row)
        if len(own_names) != len(other_names):
            refuse(f"video {number} has {len(own_names)} frames here and {len(other_names)} there", part)
        for t, (own, other) in enumerate(zip(own_names, other_names, strict=True)):
            if own and own != other:
                refuse(f"frame {t} of video {number} is {own} here and {other} there", part)
        names += other_names
    if rows:
        refuse(f"video {min(rows)} is lacking", ":videos")
    if not len(truth.counts):
        refuse("it has no masks", ":annotations")
    return truth if (np.diff(truth.name_start) > 0).all() else _named(truth, names)


def _frame_names(index: AnnotationIndex, row: int) -> list[str]:
    return [index.name(frame) for frame in range(int(index.first_frame[row]), int(index.first_frame[row + 1]))]


def _named(index: AnnotationIndex, names: list[str]) -> AnnotationIndex:
    """The index with other frame names."""
    texts = [name.encode() for name in names]
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return index.changed(name_start=starts, names=np.frombuffer(b"".join(texts), np.uint8))
