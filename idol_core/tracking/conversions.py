"""Tracks in the forms of other tools: supervision's Detections, pandas' DataFrame, FiftyOne's Sample.

Each package is imported when its function is called; Missing (exit 3) says how to install it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from idol_core.classes import numbered
from idol_core.errors import InvalidInput, Missing
from idol_core.tracking.masks import decode_masks

if TYPE_CHECKING:
    from idol_core.tracking.online import TrackedFrame
    from idol_core.tracking.tracks import VideoTracks


class Row(NamedTuple):
    """A track in one frame. The box is tight around the mask: x0, y0, x1, y1 in pixels, half-open."""

    track: int
    frame: int  # from 0
    label: int  # class index: the track's best class over the whole video
    name: str
    score: float  # of that class, over the whole video
    x0: int
    y0: int
    x1: int
    y1: int
    area: int  # of the mask, pixels
    counts: bytes  # the mask: compressed COCO run lengths


def frame_to_supervision(frame: TrackedFrame, classes: Sequence[str] | None) -> Any:
    """See TrackedFrame.to_supervision."""
    return _detections(
        frame.boxes, frame.masks, frame.scores, frame.labels, frame.track_ids, _names(classes, frame.labels)
    )


def tracks_to_supervision(tracks: VideoTracks, frame: int, classes: Sequence[str] | None) -> Any:
    """See VideoTracks.to_supervision."""
    if not 0 <= frame < tracks.frames:
        raise InvalidInput(f"there is no frame {frame}", where="frame", fix=f"0 to {tracks.frames - 1}")
    rows = list(_rows(tracks, classes, only=frame))
    return _detections(
        np.array([row[5:9] for row in rows], np.float32).reshape(-1, 4),
        decode_masks([row.counts for row in rows], tracks.size),
        np.array([row.score for row in rows], np.float32),
        np.array([row.label for row in rows], np.int64),
        np.array([row.track for row in rows], np.int64),
        [row.name for row in rows],
    )


def tracks_to_pandas(tracks: VideoTracks, classes: Sequence[str] | None) -> Any:
    """See VideoTracks.to_pandas."""
    pandas = _package("pandas", "tables")
    return pandas.DataFrame((row[:-1] for row in _rows(tracks, classes)), columns=list(Row._fields[:-1]))


def tracks_to_fiftyone(tracks: VideoTracks, video: str | os.PathLike[str], classes: Sequence[str] | None) -> Any:
    """See VideoTracks.to_fiftyone."""
    fiftyone = _package("fiftyone", "fiftyone")
    height, width = tracks.size
    sample = fiftyone.Sample(filepath=os.fspath(video))
    by_frame: dict[int, list[Any]] = {}
    for row in _rows(tracks, classes):
        mask = decode_masks([row.counts], tracks.size)[0, row.y0 : row.y1, row.x0 : row.x1]
        found = fiftyone.Detection(
            label=row.name,
            index=row.track,
            confidence=row.score,
            bounding_box=[row.x0 / width, row.y0 / height, (row.x1 - row.x0) / width, (row.y1 - row.y0) / height],
            mask=mask,
        )
        by_frame.setdefault(row.frame, []).append(found)
    for frame, detections in by_frame.items():  # FiftyOne counts frames from 1
        sample.frames[frame + 1] = fiftyone.Frame(detections=fiftyone.Detections(detections=detections))
    return sample


def _rows(tracks: VideoTracks, classes: Sequence[str] | None, only: int | None = None) -> Iterator[Row]:
    """One row for each track and frame (`only` that one) in which it has a pixel at least, by track, then by frame."""
    for track in tracks.tracks:
        label = int(track.probs.argmax())
        (name,) = _names(classes, [label], count=len(track.probs))
        frames = sorted(track.masks) if only is None else [only] * (only in track.masks)
        for frame in frames:
            counts = track.masks[frame]
            rle = {"size": list(tracks.size), "counts": counts}
            x, y, width, height = (int(v) for v in coco_mask.toBbox(rle))
            if area := int(coco_mask.area(rle)):
                place = (x, y, x + width, y + height)
                yield Row(track.id, frame, label, name, float(track.probs[label]), *place, area, counts)


def _names(classes: Sequence[str] | None, labels: Sequence[int] | NDArray[Any], count: int = 0) -> list[str]:
    known = classes if classes is not None else numbered(max([count, *(int(label) + 1 for label in labels)]))
    if any(label >= len(known) for label in labels):
        what = f"{len(known)} class names are given, but there is a track of class {max(labels)}"
        raise InvalidInput(what, where="classes", fix="give the segmenter's: segmenter.classes")
    return [known[int(label)] for label in labels]


def _detections(
    boxes: NDArray[Any],
    masks: NDArray[np.bool_],
    scores: NDArray[Any],
    labels: NDArray[Any],
    ids: NDArray[Any],
    names: list[str],
) -> Any:
    supervision = _package("supervision", "supervision")
    return supervision.Detections(
        xyxy=boxes.astype(np.float32),
        mask=masks,
        confidence=scores.astype(np.float32),
        class_id=labels.astype(int),
        tracker_id=ids.astype(int),
        data={"class_name": np.array(names, dtype=str)},
    )


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = f"the package {name} can't be imported: {error}"
        raise Missing(what, where=f"import {name}", fix=f"pip install 'idolctl[{extra}]'") from error
