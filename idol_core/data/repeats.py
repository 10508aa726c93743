"""Find what a data set has twice: objects, class names that differ in spelling only, frames of several videos."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from idol_core.data.annotations.index import AnnotationIndex


def repeated_objects(index: AnnotationIndex) -> list[int]:
    """Objects (rows of tracks) that repeat an earlier object of their video: the same class and the same masks."""
    track, frame = index.track_segments()
    row = index.segments_of(track, frame)
    area = index.segment_areas[row]
    shown = np.flatnonzero(area > 0)
    columns = (area[shown], index.track_categories[track[shown]], frame[shown])
    order = np.lexsort(columns)
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    twins = np.zeros(len(order), np.bool_)
    twins[1:] |= same
    twins[:-1] |= same
    seen = set[tuple[int, int, bytes, bytes]]()
    again = []
    for one in np.unique(track[shown][order[twins]]).tolist():
        video = int(np.searchsorted(index.first_track, one, side="right")) - 1
        first = int(index.first_segment[one])
        length = int(index.first_frame[video + 1] - index.first_frame[video])
        starts = index.segment_start[first : first + length + 1]
        content = index.counts[int(starts[0]) : int(starts[-1])].tobytes()
        key = (video, int(index.track_categories[one]), (starts - starts[0]).tobytes(), content)
        again += [one] if key in seen else []
        seen.add(key)
    return again


def similar_names(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Class names that are the same but for case, spaces and punctuation, together."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[\W_]+", "", name.casefold()) or name, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def shared_frames(index: AnnotationIndex) -> NDArray[np.int64]:
    """Frames (rows over all frames) whose file is listed before, in the same video or in another one."""
    seen = set[str]()
    again = []
    for frame in range(int(index.first_frame[-1])):
        name = index.name(frame)
        again += [frame] if name in seen else []
        seen.add(name)
    return np.array(again, np.int64)
