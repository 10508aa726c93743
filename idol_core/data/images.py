"""Use a labelled set as images: every frame of a video on its own, and with the classes of another set."""

from __future__ import annotations

from collections.abc import Mapping

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


def with_classes(dataset: Dataset, other: Dataset, places: Mapping[int, int]) -> Dataset:
    """Give a set the classes of `other`; objects whose class index is not in `places` (own -> other's) are dropped."""
    index = dataset.index
    table = np.full(len(index.category_ids), -1, np.int32)
    table[list(places)] = list(places.values())
    categories = table[index.track_categories]
    keep = categories >= 0
    kept = index.changed(
        category_ids=other.index.category_ids,
        category_names=other.index.category_names,
        first_track=np.concatenate(([0], np.cumsum(keep)))[index.first_track],
        track_ids=index.track_ids[keep],
        track_categories=categories[keep],
        track_crowd=index.track_crowd[keep],
        track_areas=index.track_areas[keep],
        first_segment=index.first_segment[keep],
    )
    return Dataset(kept, frames=dataset.frames, source=dataset.source, kind=dataset.kind)
