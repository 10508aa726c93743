"""Oracle experiments (paper section 3): the AP lost to association, measured with identities from the ground truth.

Both oracles drop detections or tracks that match no ground-truth object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.config import TrackerConfig
from idol_core.data.dataset import Dataset
from idol_core.evaluation.track_iou import Track, frame_areas, track_iou
from idol_core.tracking.records import FrameRecord, VideoRecord, add_frame, track_record
from idol_core.tracking.tracker import UNASSIGNED, Tracker, suppress
from idol_core.tracking.tracks import VideoAssembler, VideoTracks

Results = list[dict[str, Any]]

MATCH_IOU = 0.25  # a mask of lower IoU would hardly raise the IoU of the track it joins


def frame_oracle(record: VideoRecord, truths: Sequence[Track], config: TrackerConfig) -> VideoTracks:
    """Frame oracle: each detection, after mask NMS, gets the identity of the ground-truth object that it matches.

    truths: for each object, the compressed RLE counts of every frame in the original size; None where it is absent.
    """
    assembler = VideoAssembler(config)
    for t, frame in enumerate(record.frames):
        kept = suppress(frame.overlaps, config.mask_nms)
        ids = np.full(len(frame.scores), UNASSIGNED, np.int64)
        ids[kept] = assign(_frame_iou(frame, kept, [truth[t] for truth in truths], record.size))
        add_frame(assembler, frame, ids)
    return assembler.finish(record.size)


def clip_oracle(
    record: VideoRecord, truths: Sequence[Track], config: TrackerConfig, *, clip_length: int
) -> VideoTracks:
    """Clip oracle: the tracker runs within clips of `clip_length` frames; ground truth links tracks across clips.

    truths: as for `frame_oracle`.
    """
    assembler = VideoAssembler(config)
    for begin in range(0, len(record.frames), clip_length):
        clip = record.frames[begin : begin + clip_length]
        tracker = Tracker(config)
        ids = [tracker.associate(frame.scores, frame.embeddings, frame.overlaps) for frame in clip]
        true_ids = _true_identities(clip, ids, [truth[begin : begin + clip_length] for truth in truths], record.size)
        for frame, own in zip(clip, ids, strict=True):
            add_frame(assembler, frame, np.array([true_ids.get(i, UNASSIGNED) for i in own.tolist()], np.int64))
    return assembler.finish(record.size)


def assign(ious: np.ndarray) -> np.ndarray:
    """Match rows of ious [n, G] to objects one to one, highest IoU first: [n] int64 object index or UNASSIGNED."""
    found = np.full(len(ious), UNASSIGNED, np.int64)
    left = ious.copy()
    while left.size and left.max() >= MATCH_IOU:
        row, truth = np.unravel_index(left.argmax(), left.shape)
        found[row] = truth
        left[row], left[:, truth] = -1, -1
    return found


def _true_identities(
    clip: Sequence[FrameRecord], ids: Sequence[np.ndarray], truths: Sequence[Track], size: tuple[int, int]
) -> dict[int, int]:
    """Map each track identity of a clip to the index of the object it matches; unmatched tracks are left out."""
    own = sorted({i for frame in ids for i in frame.tolist() if i >= 0})
    tracks: list[list[bytes | None]] = [[None] * len(clip) for _ in own]
    for t, frame_ids in enumerate(ids):
        for place, identity in enumerate(frame_ids.tolist()):
            if identity >= 0:
                tracks[own.index(identity)][t] = clip[t].counts[place]
    height, width = size
    areas = [
        np.stack([frame_areas(track, height, width) for track in side]) if side else np.zeros((0, len(clip)))
        for side in (tracks, truths)
    ]
    matched = assign(track_iou(tracks, truths, *areas, height=height, width=width))
    return {identity: int(truth) for identity, truth in zip(own, matched, strict=True) if truth >= 0}


def _frame_iou(
    frame: FrameRecord, kept: np.ndarray, truths: Sequence[bytes | None], size: tuple[int, int]
) -> np.ndarray:
    """Mask IoU of the `kept` detections with the G objects, [len(kept), G]; 0 for objects that are absent."""
    ious = np.zeros((len(kept), len(truths)))
    present = [g for g, counts in enumerate(truths) if counts is not None]
    if present and len(kept):
        masks = [{"size": list(size), "counts": frame.counts[i]} for i in kept]
        others = [{"size": list(size), "counts": truths[g]} for g in present]
        ious[:, present] = coco_mask.iou(masks, others, [0] * len(others))
    return ious


def oracle_results(
    records: Iterable[tuple[int, VideoRecord]], dataset: Dataset, config: TrackerConfig, *, clip_length: int
) -> dict[str, Results]:
    """Results under "normal" (the tracker alone), "clip" (`clip_oracle`) and "frame" (`frame_oracle`).

    Takes (row of the data set, record) of videos; returns entries of YouTube-VIS results files.
    """
    results: dict[str, Results] = {"normal": [], "clip": [], "frame": []}
    for row, record in records:
        truths = [[rle and rle["counts"] for rle in t.segmentations] for t in dataset.tracks(row) if not t.iscrowd]
        for name, tracks in (
            ("normal", track_record(record, config)),
            ("clip", clip_oracle(record, truths, config, clip_length=clip_length)),
            ("frame", frame_oracle(record, truths, config)),
        ):
            results[name] += tracks.results(dataset.videos[row].id, dataset.category_ids, config)
    return results
