"""Annotations of a whole set in flat arrays: no Python object per instance, so that workers share the memory.

A COCO image is a video of one frame. Rows of videos follow the file's order; tracks are grouped by video.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idol_core.data.annotations.rle import RLE


@dataclass(frozen=True)
class AnnotationIndex:
    """V videos, F frames in all, A tracks, S = sum of every track's number of frames."""

    category_ids: NDArray[np.int64]  # [K] ascending in the file's own order of classes
    category_names: tuple[str, ...]  # [K]
    video_ids: NDArray[np.int64]  # [V]
    video_sizes: NDArray[np.int32]  # [V, 2] height, width
    first_frame: NDArray[np.int64]  # [V + 1] into the frames
    name_start: NDArray[np.int64]  # [F + 1] into `names`
    names: NDArray[np.uint8]  # UTF-8 of all frame names, one after another
    first_track: NDArray[np.int64]  # [V + 1] into the tracks
    track_ids: NDArray[np.int64]  # [A]
    track_categories: NDArray[np.int32]  # [A] index into category_ids
    track_crowd: NDArray[np.bool_]  # [A]
    first_segment: NDArray[np.int64]  # [A] into the segments; a track has one for each frame of its video
    segment_start: NDArray[np.int64]  # [S + 1] into `counts`; equal neighbours: absent
    counts: NDArray[np.uint8]  # compressed RLE counts, one after another

    def name(self, frame: int) -> str:
        """Name of a frame (a row over all frames)."""
        return self.names[self.name_start[frame] : self.name_start[frame + 1]].tobytes().decode()

    def segment(self, track: int, t: int, size: Sequence[int]) -> RLE | None:
        """RLE of a track in frame t of its video, None where it is absent."""
        row = int(self.first_segment[track]) + t
        start, stop = int(self.segment_start[row]), int(self.segment_start[row + 1])
        return None if start == stop else RLE(size=list(size), counts=self.counts[start:stop].tobytes())

    def present(self, track: int, t: int) -> bool:
        """Whether a track has a mask in frame t of its video."""
        row = int(self.first_segment[track]) + t
        return bool(self.segment_start[row] < self.segment_start[row + 1])

    def annotated_frames(self) -> NDArray[np.bool_]:
        """[F] whether a frame shows at least one instance that is no crowd."""
        lengths = np.diff(self.first_frame)
        video = np.repeat(np.arange(len(lengths)), np.diff(self.first_track))
        length = lengths[video]
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        segment = np.repeat(self.first_segment, length) + within
        seen = (self.segment_start[segment] < self.segment_start[segment + 1]) & ~np.repeat(self.track_crowd, length)
        flags = np.zeros(int(self.first_frame[-1]), np.bool_)
        flags[(np.repeat(self.first_frame[video], length) + within)[seen]] = True
        return flags


class IndexBuilder:
    """Collects videos and tracks one at a time, in any order of tracks."""

    def __init__(self, categories: Sequence[tuple[int, str]]) -> None:
        ordered = sorted(categories)
        self.category_row = {number: row for row, (number, _) in enumerate(ordered)}
        self.video_row: dict[int, int] = {}
        self._category_names = tuple(name for _, name in ordered)
        self._sizes, self._first_frame = array("i"), array("q", [0])
        self._names, self._name_start = bytearray(), array("q", [0])
        self._track_video, self._track_ids, self._track_categories = array("q"), array("q"), array("i")
        self._track_crowd, self._first_segment = array("b"), array("q")
        self._counts, self._segment_start = bytearray(), array("q", [0])

    def add_video(self, number: int, height: int, width: int, file_names: Sequence[str]) -> None:
        """Append a video; its id must be new."""
        self.video_row[number] = len(self.video_row)
        self._sizes.extend((height, width))
        for name in file_names:
            self._names += name.encode()
            self._name_start.append(len(self._names))
        self._first_frame.append(self._first_frame[-1] + len(file_names))

    def video(self, number: int) -> tuple[int, int, int]:
        """(length, height, width) of a video that was added; KeyError otherwise."""
        row = self.video_row[number]
        return self._first_frame[row + 1] - self._first_frame[row], self._sizes[2 * row], self._sizes[2 * row + 1]

    def add_track(
        self, *, number: int, video: int, category: int, crowd: bool, segmentations: Sequence[RLE | None]
    ) -> None:
        """Append a track of a video that was added, one segmentation for each of its frames."""
        self._track_video.append(self.video_row[video])
        self._track_ids.append(number)
        self._track_categories.append(self.category_row[category])
        self._track_crowd.append(crowd)
        self._first_segment.append(len(self._segment_start) - 1)
        for segmentation in segmentations:
            if segmentation is not None:
                self._counts += segmentation["counts"]
            self._segment_start.append(len(self._counts))

    def finish(self) -> AnnotationIndex:
        """The index; the builder is spent."""
        track_video = _plain(self._track_video, np.int64)
        order = np.argsort(track_video, kind="stable")
        per_video = np.bincount(track_video, minlength=len(self.video_row))
        return AnnotationIndex(
            category_ids=np.array(sorted(self.category_row), np.int64),
            category_names=self._category_names,
            video_ids=np.fromiter(self.video_row, np.int64, len(self.video_row)),
            video_sizes=_plain(self._sizes, np.int32).reshape(-1, 2),
            first_frame=_plain(self._first_frame, np.int64),
            name_start=_plain(self._name_start, np.int64),
            names=_plain(self._names, np.uint8),
            first_track=np.concatenate(([0], np.cumsum(per_video))).astype(np.int64),
            track_ids=_plain(self._track_ids, np.int64)[order],
            track_categories=_plain(self._track_categories, np.int32)[order],
            track_crowd=_plain(self._track_crowd, np.bool_)[order],
            first_segment=_plain(self._first_segment, np.int64)[order],
            segment_start=_plain(self._segment_start, np.int64),
            counts=_plain(self._counts, np.uint8),
        )


def _plain(values: array[Any] | bytearray, dtype: type) -> NDArray[Any]:
    return np.frombuffer(values, dtype) if len(values) else np.zeros(0, dtype)
