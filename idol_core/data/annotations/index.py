"""Annotations of a whole data set in flat arrays: no Python object per instance, so that workers share the memory.

A COCO image is a video of one frame. Rows of videos follow the file's order; tracks are grouped by video.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from idol_core.data.annotations.rle import RLE, areas_of, mask_areas
from idol_core.data.annotations.segmentation import Read
from idol_core.errors import Integrity

MEND = "correct that entry of the file, or make or download it again"


class TrackEntry(NamedTuple):
    """A parsed and checked annotation; lists have one item per frame of the video."""

    masks: list[Read]
    crowd: bool
    area: float = math.nan  # as AnnotationIndex.track_areas
    boxes: list[tuple[float, ...] | None] | None = None  # None: the file has none
    occlusion: tuple[str | None, ...] = ()  # empty: not in the file


@dataclass(frozen=True)
class AnnotationIndex:
    """Arrays over V videos, F frames in total, A tracks and S segments (one per track and frame of its video)."""

    category_ids: NDArray[np.int64]  # [K] ascending, unless the classes were reordered
    category_names: tuple[str, ...]  # [K]
    video_ids: NDArray[np.int64]  # [V]
    video_sizes: NDArray[np.int32]  # [V, 2] height, width
    first_frame: NDArray[np.int64]  # [V + 1] offsets into the frames
    name_start: NDArray[np.int64]  # [F + 1] offsets into `names`
    names: NDArray[np.uint8]  # UTF-8 of all frame names, one after another
    first_track: NDArray[np.int64]  # [V + 1] offsets into the tracks
    track_ids: NDArray[np.int64]  # [A]
    track_categories: NDArray[np.int32]  # [A] index into category_ids
    track_crowd: NDArray[np.bool_]  # [A]
    track_areas: NDArray[np.float64]  # [A] pixels: `area` of the file, for videos the mean of `areas`; NaN: none
    first_segment: NDArray[np.int64]  # [A] offset into the segments; a track has one per frame of its video
    segment_start: NDArray[np.int64]  # [S + 1] offsets into `counts`; an empty range: absent
    counts: NDArray[np.uint8]  # compressed RLE counts, one after another; each fills its frame
    segment_areas: NDArray[np.int32]  # [S] pixels of each mask; 0: absent or empty
    segment_boxes: NDArray[np.float32]  # [S, 4] x, y, width, height: `bbox` of the file; NaN: none
    segment_flags: NDArray[np.uint8]  # [S] oddities of a mask: bits segmentation.SLIVER, NORMALISED, OUTSIDE
    segment_occlusion: NDArray[np.int8]  # [S] OVIS: index into occlusion_levels; -1: null, -2: not in the file
    occlusion_levels: tuple[str, ...]

    def changed(self, **fields: Any) -> AnnotationIndex:
        """Copy with other fields, in memory: a copy of a StoredIndex that kept its type would be read unchanged from
        disk in other processes."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(AnnotationIndex)}
        return AnnotationIndex(**own | fields)

    def name(self, frame: int) -> str:
        """Name of a frame (a row over all frames)."""
        return self.names[self.name_start[frame] : self.name_start[frame + 1]].tobytes().decode()

    def segment(self, track: int, t: int, size: Sequence[int]) -> RLE | None:
        """RLE of a track in frame t of its video, None where it is absent."""
        row = int(self.first_segment[track]) + t
        start, stop = int(self.segment_start[row]), int(self.segment_start[row + 1])
        return None if start == stop else RLE(size=list(size), counts=self.counts[start:stop].tobytes())

    def present(self, track: int, t: int) -> bool:
        """Whether a track has a mask of at least one pixel in frame t of its video."""
        return bool(self.segment_areas[int(self.first_segment[track]) + t])

    def track_segments(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[S'] track (row) and frame (row over all frames) of every segment, in track order; S' = S if none is shared.

        The segment's row is `first_segment` of its track plus the frame's number in its video.
        """
        lengths = np.diff(self.first_frame)
        video = np.repeat(np.arange(len(lengths)), np.diff(self.first_track))
        length = lengths[video]
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return np.repeat(np.arange(len(video)), length), np.repeat(self.first_frame[video], length) + within

    def segments_of(self, track: NDArray[np.int64], frame: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the segments of tracks (rows) in frames (rows over all frames) of their videos."""
        video = np.searchsorted(self.first_track, track, side="right") - 1
        rows: NDArray[np.int64] = self.first_segment[track] + frame - self.first_frame[video]
        return rows

    def annotated_frames(self) -> NDArray[np.bool_]:
        """[F] whether a frame shows at least one instance (a mask of a pixel or more) that is no crowd."""
        track, frame = self.track_segments()
        seen = (self.segment_areas[self.segments_of(track, frame)] > 0) & ~self.track_crowd[track]
        flags = np.zeros(int(self.first_frame[-1]), np.bool_)
        flags[frame[seen]] = True
        return flags


_NO_BOX = (math.nan,) * 4
_UNKNOWN = (-2,)  # as segment_occlusion
_CHECKED = 2**16  # bytes of run lengths checked at a time: they fit the cache of a core
_MOST_LEVELS = 100
_MOST_FRAMES = 2**26


class IndexBuilder:
    """Builds an AnnotationIndex; add videos and tracks one at a time, tracks in any order. `name`: for errors."""

    def __init__(self, categories: Sequence[tuple[int, str]], *, name: str) -> None:
        ordered = sorted(categories)
        self._name = name
        self.category_row = {number: row for row, (number, _) in enumerate(ordered)}
        self.video_row: dict[int, int] = {}
        self._category_names = tuple(name for _, name in ordered)
        self._sizes, self._first_frame = array("i"), array("q", [0])
        self._names, self._name_start = bytearray(), array("q", [0])
        self._track_video, self._track_ids, self._track_categories = array("q"), array("q"), array("i")
        self._track_crowd, self._first_segment, self._track_areas = array("b"), array("q"), array("d")
        self._counts, self._segment_start = bytearray(), array("q", [0])
        self._areas, self._boxes = array("i"), array("f")
        self._flags, self._occlusion, self._levels = array("B"), array("b"), dict[str, int]()
        self._drawn: list[RLE] = []  # masks added since the last check
        self._texts: list[bytes] = []
        self._drawn_segments, self._text_segments, self._text_pixels = array("q"), array("q"), array("q")
        self._waiting = 0  # bytes of both

    def add_video(self, number: int, height: int, width: int, file_names: Sequence[str]) -> None:
        """Append a video; its id must be new. Raises ValueError for an implausible number of frames."""
        if self._first_frame[-1] + len(file_names) > _MOST_FRAMES:
            raise ValueError(f"more than {_MOST_FRAMES} frames in all")
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

    def add_track(self, number: int, video: int, category: int, entry: TrackEntry) -> None:
        """Append a track of an added video. Raises Integrity for invalid run lengths, possibly of an earlier track."""
        row = self.video_row[video]
        pixels = self._sizes[2 * row] * self._sizes[2 * row + 1]
        self._track_video.append(row)
        self._track_ids.append(number)
        self._track_categories.append(self.category_row[category])
        self._track_crowd.append(entry.crowd)
        self._track_areas.append(entry.area)
        self._first_segment.append(len(self._flags))
        for rle, flags, drawn in entry.masks:
            if rle is not None:
                counts = rle["counts"]
                self._counts += counts
                self._waiting += len(counts)
                if drawn:
                    self._drawn.append(rle)
                    self._drawn_segments.append(len(self._flags))
                else:
                    self._texts.append(counts)
                    self._text_segments.append(len(self._flags))
                    self._text_pixels.append(pixels)
            self._segment_start.append(len(self._counts))
            self._flags.append(flags)
        for box in entry.boxes or (None,) * len(entry.masks):
            self._boxes.extend(box or _NO_BOX)
        if entry.occlusion:
            self._occlusion.extend([self._level(level) for level in entry.occlusion])
        else:
            self._occlusion.extend(_UNKNOWN * len(entry.masks))
        if self._waiting > _CHECKED:
            self._check()

    def _level(self, level: str | None) -> int:
        if level is None:
            return -1
        if level not in self._levels and len(self._levels) == _MOST_LEVELS:
            raise ValueError(f"occlusion has more than {_MOST_LEVELS} levels")
        return self._levels.setdefault(level, len(self._levels))

    def _check(self) -> None:
        """Check the run lengths added since the last check, and fill in the areas of their masks."""
        self._areas.extend([0] * (len(self._flags) - len(self._areas)))
        try:
            areas = areas_of(self._texts, np.array(self._text_pixels, np.int64)).tolist()
        except ValueError:
            self._raise_first()
        areas += mask_areas(self._drawn)
        for segment, area in zip(self._text_segments + self._drawn_segments, areas, strict=True):
            self._areas[segment] = area
        self._drawn, self._texts, self._waiting = [], [], 0
        del self._drawn_segments[:], self._text_segments[:], self._text_pixels[:]

    def _raise_first(self) -> NoReturn:
        for counts, segment, pixels in zip(self._texts, self._text_segments, self._text_pixels, strict=True):
            try:
                areas_of([counts], np.array([pixels]))
            except ValueError as error:
                track = bisect_right(self._first_segment, segment) - 1
                frame = segment - self._first_segment[track]
                where = f"{self._name}:annotations, id {self._track_ids[track]}"
                raise Integrity(f"frame {frame}: {error}" if frame else str(error), where=where, fix=MEND) from None
        raise AssertionError("masks fail together, but none alone")

    def finish(self) -> AnnotationIndex:
        """Return the index; the builder can't be used afterwards."""
        self._check()
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
            track_areas=_plain(self._track_areas, np.float64)[order],
            first_segment=_plain(self._first_segment, np.int64)[order],
            segment_start=_plain(self._segment_start, np.int64),
            counts=_plain(self._counts, np.uint8),
            segment_areas=_plain(self._areas, np.int32),
            segment_boxes=_plain(self._boxes, np.float32).reshape(-1, 4),
            segment_flags=_plain(self._flags, np.uint8),
            segment_occlusion=_plain(self._occlusion, np.int8),
            occlusion_levels=tuple(self._levels),
        )


def _plain(values: array[Any] | bytearray, dtype: type) -> NDArray[Any]:
    return np.frombuffer(values, dtype) if len(values) else np.zeros(0, dtype)
