"""Records of a video's detections, from which tracking can be repeated without the network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from idol_core.config import TrackerConfig
from idol_core.tracking.masks import Size
from idol_core.tracking.online import Observation
from idol_core.tracking.tracker import Tracker
from idol_core.tracking.tracks import Floats, VideoAssembler, VideoTracks


class FrameRecord(NamedTuple):
    """The n detections of a frame that passed score and box NMS, by falling score."""

    scores: Floats  # [n]
    probs: Floats  # [n, K]
    embeddings: Floats  # [n, C]
    overlaps: Floats  # [n, n] mask IoU, as mask NMS sees it
    counts: list[bytes]  # [n] masks in the original size, compressed COCO run lengths


class VideoRecord(NamedTuple):
    """All frames of a video."""

    frames: list[FrameRecord]
    size: Size  # of the original frames


def record_frame(seen: Observation) -> FrameRecord:
    """Record a frame's detections; every mask is encoded, whether it will be reported or not."""
    found = seen.detections
    scores, probs, embeddings = (part.numpy() for part in (found.scores, found.probs, found.embeddings))
    return FrameRecord(scores, probs, embeddings, seen.overlaps(), seen.encode(np.arange(len(scores))))


def track_record(record: VideoRecord, config: TrackerConfig) -> VideoTracks:
    """Track a recorded video under `config`; `select_threshold` and `box_nms` were applied when it was recorded."""
    tracker, assembler = Tracker(config), VideoAssembler(config)
    for frame in record.frames:
        ids = tracker.associate(frame.scores, frame.embeddings, frame.overlaps)
        add_frame(assembler, frame, ids)
    return assembler.finish(record.size)


def add_frame(assembler: VideoAssembler, frame: FrameRecord, ids: np.ndarray) -> None:
    """Pass the detections that belong to a track (`ids` [n] of 0 and up) to the assembler."""
    present = np.flatnonzero(ids >= 0)
    assembler.add(ids[present].tolist(), frame.probs[present], [frame.counts[i] for i in present])
