"""Use a labelled video set as images: every frame on its own, for steps 1 and 2 and their scores."""

from __future__ import annotations

import numpy as np

from idol_core.data.dataset import Dataset


def as_images(dataset: Dataset) -> Dataset:
    """Turn each frame of a video set into a one-frame video, ids 1, 2, ... in file order; image sets stay unchanged."""
    if dataset.kind == "coco":
        return dataset
    index = dataset.index
    track, frame = index.track_segments()
    segment = index.segments_of(track, frame)
    present = np.flatnonzero(index.segment_start[segment] < index.segment_start[segment + 1])
    present = present[np.argsort(frame[present], kind="stable")]
    total = int(index.first_frame[-1])
    split = index.changed(
        video_ids=np.arange(1, total + 1, dtype=np.int64),
        video_sizes=np.repeat(index.video_sizes, np.diff(index.first_frame), axis=0),
        first_frame=np.arange(total + 1, dtype=np.int64),
        first_track=np.searchsorted(frame[present], np.arange(total + 1)),
        track_ids=np.arange(1, len(present) + 1, dtype=np.int64),
        track_categories=index.track_categories[track[present]],
        track_crowd=index.track_crowd[track[present]],
        track_areas=np.full(len(present), np.nan),
        first_segment=segment[present],
    )
    return Dataset(split, frames=dataset.frames, source=dataset.source, kind="coco")
