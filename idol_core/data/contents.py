"""Summarise what a data set offers for training, and report suspicious annotations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from idol_core.classes import labels
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.segmentation import NORMALISED, OUTSIDE, SLIVER
from idol_core.data.dataset import Dataset
from idol_core.data.repeats import repeated_objects, shared_frames, similar_names

NEAR_IOU = 0.5  # IoU of the mask's box and the annotated `bbox`, both enlarged by a pixel on each side
_AREA_SLACK = 50  # pixels
_TOLD = 5  # most class names listed in a remark
_NOTICED = 0.05  # training warns of a fault that affects at least this share of the objects
_TOGETHER = 4096  # masks per batch when computing boxes


class Remark(NamedTuple):
    """An observation about `number` objects (or classes), with an example."""

    number: int
    what: str
    example: str = ""

    def __str__(self) -> str:
        return f"{self.number:,} {self.what}" + (f" ({self.example})" if self.example else "")


class Contents(NamedTuple):
    """Counts of a data set: `usable` of `objects` are no crowd and have a mask of at least one pixel in some frame."""

    objects: int
    usable: int
    remarks: list[Remark]


class _Segments(NamedTuple):
    """One row per object and frame, with or without a mask: arrays [S]."""

    track: NDArray[np.int64]
    frame: NDArray[np.int64]  # row over all frames
    row: NDArray[np.int64]  # in the index's segments
    given: NDArray[np.bool_]  # the object has a mask, possibly an empty one
    area: NDArray[np.int64]
    flags: NDArray[np.uint8]
    boxed: NDArray[np.bool_]  # the file has a `bbox`


def contents_of(dataset: Dataset) -> Contents:
    """Count usable and unusable objects and collect remarks. Computes the boxes of all masks."""
    index = dataset.index
    segments = _segments(index)
    remarks = _remarks(index, segments)
    far, large = _far_from_file(index, segments)
    if len(far):
        what = "masks lie far from their `bbox` in the file: RLEs in row order, or a `bbox` not x, y, width, height?"
        remarks.append(Remark(len(far), what, _example(index, segments, int(far[0]))))
    if len(large):
        what = "masks differ much in size from their `area` in the file"
        remarks.append(Remark(len(large), what, _example(index, segments, int(large[0]))))
    usable = _usable(index, segments)
    remarks += _classes(index, usable) if len(usable) else []
    remarks += _repeats(index)
    return Contents(len(index.track_ids), int(usable.sum()), remarks)


def training_remarks(dataset: Dataset, name: str = "the training set") -> list[str]:
    """Warnings for training: faults that affect a considerable share of the objects."""
    index = dataset.index
    found = [r for r in _remarks(index, _segments(index)) if r.number >= _NOTICED * len(index.track_ids)]
    return [f"{name}: {remark}" for remark in found]


def why_nothing(index: AnnotationIndex) -> str:
    """Explain why a data set has nothing to train on."""
    objects = len(index.track_ids)
    if not objects:
        return "the training set has no instances: its file has no annotations"
    remarks = [str(r) for r in _remarks(index, _segments(index))]
    return f"the training set has no instances to learn from: of {objects:,} objects, {'; '.join(remarks)}"


def _segments(index: AnnotationIndex) -> _Segments:
    track, frame = index.track_segments()
    row = index.segments_of(track, frame)
    return _Segments(
        track,
        frame,
        row,
        given=index.segment_start[row] < index.segment_start[row + 1],
        area=index.segment_areas[row].astype(np.int64),
        flags=index.segment_flags[row],
        boxed=~np.isnan(index.segment_boxes[row, 0]),
    )


def _usable(index: AnnotationIndex, segments: _Segments) -> NDArray[np.bool_]:
    """[A] bool: whether training can use the object."""
    seen = np.zeros(len(index.track_ids), np.bool_)
    seen[segments.track[segments.area > 0]] = True
    return seen & ~index.track_crowd


def _remarks(index: AnnotationIndex, segments: _Segments) -> list[Remark]:
    """Remarks that follow from mask flags and areas."""
    objects = len(index.track_ids)
    masked = np.zeros(objects, np.bool_)
    masked[segments.track[segments.given]] = True
    boxed = np.zeros(objects, np.bool_)
    boxed[segments.track[segments.boxed & ~segments.given]] = True
    of_objects = (
        (index.track_crowd, "objects are crowds: training leaves them out"),
        (~masked & boxed, "objects are boxes without masks: training leaves them out"),
        (~masked & ~boxed, "objects have no mask: training leaves them out"),
    )
    of_masks = (
        (segments.given & (segments.area == 0), "masks are empty"),
        (segments.given & (segments.area == 1), "masks have only one pixel"),
        (
            segments.flags & NORMALISED > 0,
            "masks look normalised: coordinates within 0..1, they must be in pixels",
        ),
        (segments.flags & OUTSIDE > 0, "masks have polygons outside of their frame"),
        (segments.flags & SLIVER > 0, "masks lost polygons of fewer than three corners"),
        (segments.boxed & ~segments.given & masked[segments.track], "frames of objects have a box, but no mask"),
    )
    found = [
        Remark(int(hit.sum()), what, f"first: annotation {index.track_ids[np.flatnonzero(hit)[0]]}")
        for hit, what in of_objects
        if hit.any()
    ]
    return found + [
        Remark(int(hit.sum()), what, _example(index, segments, int(np.flatnonzero(hit)[0])))
        for hit, what in of_masks
        if hit.any()
    ]


def _example(index: AnnotationIndex, segments: _Segments, place: int) -> str:
    track, frame = int(segments.track[place]), int(segments.frame[place])
    return f"first: annotation {index.track_ids[track]}, {index.name(frame)}"


def _classes(index: AnnotationIndex, usable: NDArray[np.bool_]) -> list[Remark]:
    """Remarks on classes without a usable object."""
    counts = np.bincount(index.track_categories[usable], minlength=len(index.category_ids))
    lacking = np.flatnonzero(counts == 0).tolist()
    if not lacking:
        return []
    called = list(labels(dict(enumerate(index.category_names))).values())
    named = ", ".join(called[row] for row in lacking[:_TOLD]) + (", ..." if len(lacking) > _TOLD else "")
    return [Remark(len(lacking), "classes have no objects to learn from", named)]


def _repeats(index: AnnotationIndex) -> list[Remark]:
    """Remarks on what the set has twice."""
    found = []
    if again := repeated_objects(index):
        what = "objects repeat the class and masks of another one: labelled twice?"
        found.append(Remark(len(again), what, f"first: annotation {index.track_ids[again[0]]}"))
    if alike := similar_names(index.category_names):
        named = "; ".join(" and ".join(f"'{name}'" for name in group) for group in alike[:_TOLD])
        found.append(Remark(sum(map(len, alike)), "classes have nearly the same name, but are learnt apart", named))
    if len(frames := shared_frames(index)):
        where = int(np.searchsorted(index.first_frame, frames[0], side="right")) - 1
        example = f"first: {index.name(int(frames[0]))} in {index.video_ids[where]}"
        found.append(Remark(len(frames), "frames are listed twice: in two videos (or images), or in one", example))
    return found


def _far_from_file(index: AnnotationIndex, segments: _Segments) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `segments` whose mask contradicts the file: those away from their `bbox`, and those of another `area`.

    Areas are compared for images only. An `area` may be that of the mask or of its box.
    """
    alone = np.diff(index.first_frame).max(initial=0) == 1
    area = index.track_areas[segments.track] if alone else np.full(len(segments.track), np.nan)
    told = segments.boxed | ~np.isnan(area)
    both = np.flatnonzero(told & (segments.area > 0) & ~index.track_crowd[segments.track])
    far, large = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, len(both), _TOGETHER):
        places = both[first : first + _TOGETHER]
        own = _own_boxes(index, segments, places)
        iou = _box_iou(own, index.segment_boxes[segments.row[places]].astype(np.float64))
        far.append(places[iou < NEAR_IOU])
        most, least = 2 * own[:, 2:].prod(1) + _AREA_SLACK, segments.area[places] / 2 - _AREA_SLACK
        large.append(places[(area[places] > most) | (area[places] < least)])
    return np.concatenate(far), np.concatenate(large)


def _own_boxes(index: AnnotationIndex, segments: _Segments, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute boxes of masks: [n, 4] x, y, width, height."""
    video = np.searchsorted(index.first_frame, segments.frame[places], side="right") - 1
    frames = (segments.frame[places] - index.first_frame[video]).tolist()
    sizes, tracks = index.video_sizes[video].tolist(), segments.track[places].tolist()
    rles = [index.segment(track, t, size) for track, t, size in zip(tracks, frames, sizes, strict=True)]
    return np.asarray(coco_mask.toBbox(rles), np.float64).reshape(-1, 4)


def _box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] IoU of boxes (x, y, width, height), each enlarged by a pixel on every side."""
    low_a, low_b = a[:, :2] - 1, b[:, :2] - 1
    high_a, high_b = a[:, :2] + a[:, 2:] + 1, b[:, :2] + b[:, 2:] + 1
    both = np.maximum(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0).prod(1)
    union = (high_a - low_a).prod(1) + np.maximum(high_b - low_b, 0).prod(1) - both
    iou: NDArray[np.float64] = both / union
    return iou
