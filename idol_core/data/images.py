"""Use a labelled video set as images: every frame on its own, for steps 1 and 2 and their scores."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.data.dataset import Dataset


def as_images(dataset: Dataset) -> Dataset:
    """The frames of a video set as one-frame videos, ids 1, 2, ... in file order; an image set is left as it is."""
    if dataset.kind == "coco":
        return dataset
    index = dataset.index
    lengths, tracks = np.diff(index.first_frame), np.diff(index.first_track)
    video = np.repeat(np.arange(len(lengths)), tracks)  # of each track
    length = lengths[video]
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    track = np.repeat(np.arange(len(video)), length)
    segment = index.first_segment[track] + within
    frame = index.first_frame[video[track]] + within
    present = np.flatnonzero(index.segment_start[segment] < index.segment_start[segment + 1])
    present = present[np.argsort(frame[present], kind="stable")]
    total = int(index.first_frame[-1])
    split = dataclasses.replace(
        index,
        video_ids=np.arange(1, total + 1, dtype=np.int64),
        video_sizes=np.repeat(index.video_sizes, lengths, axis=0),
        first_frame=np.arange(total + 1, dtype=np.int64),
        first_track=np.searchsorted(frame[present], np.arange(total + 1)),
        track_ids=np.arange(1, len(present) + 1, dtype=np.int64),
        track_categories=index.track_categories[track[present]],
        track_crowd=index.track_crowd[track[present]],
        first_segment=segment[present],
    )
    return Dataset(split, frames=dataset.frames, source=dataset.source, kind="coco")


def coco_truth(dataset: Dataset) -> dict[str, Any]:
    """COCO ground truth of a set of images: its own file, or for a video set what `as_images` makes of it."""
    if dataset.kind == "coco":
        document: dict[str, Any] = json.loads(dataset.source.read_text(encoding="utf-8"))
        return document
    stills, annotations = as_images(dataset), []
    for row in range(len(stills.videos)):
        for track in stills.tracks(row):
            (rle,) = track.segmentations
            annotations.append(
                {
                    "id": track.id,
                    "image_id": stills.videos[row].id,
                    "category_id": stills.category_ids[track.category],
                    "iscrowd": int(track.iscrowd),
                    "segmentation": rle,
                    "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                }
            )
    images = [{"id": image.id, "height": image.height, "width": image.width} for image in stills.videos]
    names = zip(stills.category_ids, stills.category_names, strict=True)
    categories = [{"id": number, "name": name} for number, name in names]
    return {"images": images, "annotations": annotations, "categories": categories}
