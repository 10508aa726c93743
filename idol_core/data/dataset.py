"""A labelled data set: its videos (an image is a video of one frame) and their tracks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from idol_core.config import DataSource
from idol_core.data.annotations.coco import read_coco
from idol_core.data.annotations.index import MEND, AnnotationIndex
from idol_core.data.annotations.index_store import open_index
from idol_core.data.annotations.json_stream import Progress
from idol_core.data.annotations.rle import RLE
from idol_core.data.annotations.ytvis import read_vis
from idol_core.data.separate_truth import fitting_truth, truth_place
from idol_core.errors import Integrity, InvalidInput


class Video(NamedTuple):
    id: int
    file_names: list[str]  # absolute paths of the frames
    height: int  # pixels
    width: int
    length: int  # frames


class Track(NamedTuple):
    """One object of a video."""

    id: int
    category: int  # index into Dataset.category_ids
    iscrowd: bool
    segmentations: list[RLE | None]  # one per frame, None where the object is absent


class Dataset:
    """A data set: the annotation index, and the folder that its frame names are relative to."""

    def __init__(self, index: AnnotationIndex, *, frames: Path, source: Path, kind: str) -> None:
        self.index, self.frames, self.source, self.kind = index, frames, source, kind

    def frame_name(self, video: int, t: int) -> str:
        """Name of frame t of a video (a row of `videos`), relative to the frames folder."""
        return self.index.name(int(self.index.first_frame[video]) + t)

    def reordered(self, order: Sequence[int]) -> Dataset:
        """Copy with the classes reordered: new class index i is old index `order[i]`; category ids don't change."""
        if list(order) == list(range(len(self.category_ids))):
            return self
        places = np.array(order, np.int64)
        index = self.index.changed(
            category_ids=self.index.category_ids[places],
            category_names=tuple(self.index.category_names[place] for place in order),
            track_categories=np.argsort(places).astype(np.int32)[self.index.track_categories],
        )
        return Dataset(index, frames=self.frames, source=self.source, kind=self.kind)

    @property
    def category_ids(self) -> list[int]:
        """Category ids of the file, ascending unless `reordered`; a class index is a position in this list."""
        result: list[int] = self.index.category_ids.tolist()
        return result

    @property
    def category_names(self) -> list[str]:
        return list(self.index.category_names)

    @property
    def has_ground_truth(self) -> bool:
        """Whether any object has a mask."""
        return len(self.index.counts) > 0

    @property
    def videos(self) -> Sequence[Video]:
        return _Videos(self)

    def tracks(self, video: int) -> list[Track]:
        """Tracks of a video (a row of `videos`), crowds included; empty if the file has no annotations."""
        index = self.index
        length = int(index.first_frame[video + 1] - index.first_frame[video])
        size = index.video_sizes[video].tolist()
        return [
            Track(
                id=int(index.track_ids[track]),
                category=int(index.track_categories[track]),
                iscrowd=bool(index.track_crowd[track]),
                segmentations=[index.segment(track, t, size) for t in range(length)],
            )
            for track in range(index.first_track[video], index.first_track[video + 1])
        ]


class _Videos(Sequence[Video]):
    """Sequence that builds each Video on access, to save memory."""

    def __init__(self, dataset: Dataset) -> None:
        self._index, self._frames = dataset.index, dataset.frames

    def __len__(self) -> int:
        return len(self._index.video_ids)

    @overload
    def __getitem__(self, row: int) -> Video: ...
    @overload
    def __getitem__(self, row: slice) -> list[Video]: ...
    def __getitem__(self, row: int | slice) -> Video | list[Video]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(row)
        first, stop = int(self._index.first_frame[row]), int(self._index.first_frame[row + 1])
        height, width = self._index.video_sizes[row].tolist()
        names = [str(self._frames / self._index.name(frame)) for frame in range(first, stop)]
        return Video(int(self._index.video_ids[row]), names, height, width, stop - first)


def open_dataset(source: DataSource, *, on_read: Progress | None = None) -> Dataset:
    """Open a source that `catalog.resolve_source` has resolved to a kind, a frames folder and an annotation file.

    Masks come from OVIS's `validGT.json` where it is beside the annotations (see `open_labels`).
    `on_read(bytes read, bytes of the file)` reports progress when a large annotation file is parsed for the first time.

    Raises:
        InvalidInput: one of the three is missing.
        Missing, Integrity: see `read_vis` and `read_coco`.
    """
    if source.kind is None or source.frames is None or source.annotations is None:
        raise InvalidInput(
            f"data source {source.name!r} lacks kind, frames or annotations",
            where="data.train, data.val",
            fix="give all three, or a known name",
        )
    index, annotations = open_labels(Path(source.annotations), source.kind, on_read=on_read)
    nameless = np.flatnonzero(np.diff(index.name_start) == 0)
    if len(nameless):
        row = int(np.searchsorted(index.first_frame, nameless[0], side="right")) - 1
        where = f"{annotations}:{'videos' if source.kind == 'vis' else 'images'}, id {index.video_ids[row]}"
        field = "file_names" if source.kind == "vis" else "file_name"
        raise Integrity(f"field '{field}' is missing or empty", where=where, fix=MEND)
    return Dataset(index, frames=Path(source.frames), source=annotations, kind=source.kind)


def open_labels(path: Path, kind: str, *, on_read: Progress | None = None) -> tuple[AnnotationIndex, Path]:
    """Read an annotation file or, if it has no masks, the ground truth that was published beside it.

    Returns the index and the file that the masks are from.

    Raises Missing, Integrity: as `open_annotations`, and if the ground truth is not that of the annotations.
    """
    index = open_annotations(path, kind, on_read=on_read)
    truth = truth_place(path)
    if kind != "vis" or len(index.counts) or truth is None or not truth.is_file():
        return index, path
    found = open_annotations(truth, kind, on_read=on_read)
    return fitting_truth(found, index, where=truth, annotations=path), truth


def open_annotations(path: Path, kind: str, *, on_read: Progress | None = None) -> AnnotationIndex:
    """Read an annotation file of the kind "vis" or "coco" into an index; frame names may be missing in the file.

    Raises Missing, Integrity: see `read_vis` and `read_coco`.
    """
    return open_index(path, kind, read_vis if kind == "vis" else read_coco, on_read=on_read)
