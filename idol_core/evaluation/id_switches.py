"""Identity switches per video: how often an object changes its track, and in how many frames it has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.ytvis_files import GroundTruth, Video, read_ground_truth, read_results

MIN_SCORE = 0.2  # tracks below this score are ignored
MIN_IOU = 0.5  # least overlap of a track and an object in a frame

Track = Sequence[bytes | None]


class Continuity(NamedTuple):
    """Counts of one video. An object keeps its track as long as they overlap; classes are ignored."""

    switches: int  # times that an object has another track than it last had
    covered: int  # (object, frame) pairs with a track
    visible: int  # (object, frame) pairs


def identity_switches(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path
) -> dict[int, Continuity]:
    """Continuity of each video (by id), using tracks with score >= MIN_SCORE. Raises as `evaluate_vis`."""
    truth = read_ground_truth(ground_truth)
    found: dict[int, dict[tuple[bytes | None, ...], None]] = {number: {} for number in truth.videos}
    for result in read_results(results, truth):
        if result.score >= MIN_SCORE:
            found[result.video][tuple(result.masks)] = None  # equal masks: one track under several classes
    objects = _objects(truth)
    return {number: follow(objects[number], list(found[number]), video) for number, video in truth.videos.items()}


def follow(objects: Sequence[Track], tracks: Sequence[Track], video: Video) -> Continuity:
    """Count the switches of objects between tracks, both given as compressed counts per frame."""
    last: dict[int, int] = {}
    switches = covered = visible = 0
    for t in range(video.frames):
        here = [i for i, masks in enumerate(objects) if masks[t] is not None]
        present = [i for i, masks in enumerate(tracks) if masks[t] is not None]
        visible += len(here)
        ious = _ious([objects[i][t] for i in here], [tracks[i][t] for i in present], video)
        for row, column in _match(ious, [present.index(last[i]) if last.get(i) in present else None for i in here]):
            item, track = here[row], present[column]
            switches += last.get(item, track) != track
            last[item] = track
            covered += 1
    return Continuity(switches, covered, visible)


def _objects(truth: GroundTruth) -> dict[int, list[Track]]:
    found: dict[int, list[Track]] = {number: [] for number in truth.videos}
    for (video, _), truths in truth.truths.items():
        found[video] += [t.masks for t in truths if not t.crowd]
    return found


def _ious(objects: Sequence[bytes | None], tracks: Sequence[bytes | None], video: Video) -> np.ndarray:
    """[objects, tracks] float64."""
    if not objects or not tracks:
        return np.zeros((len(objects), len(tracks)))
    a, b = ([{"size": [video.height, video.width], "counts": c} for c in side] for side in (objects, tracks))
    ious: np.ndarray = coco_mask.iou(a, b, [0] * len(b))
    return ious


def _match(ious: np.ndarray, before: Sequence[int | None]) -> list[tuple[int, int]]:
    """Match one to one as (object, track): each object's last track (`before`) first if they overlap, then by IoU."""
    left = np.where(ious >= MIN_IOU, ious, -1.0)
    pairs = [(row, column) for row, column in enumerate(before) if column is not None and left[row, column] > 0]
    for row, column in pairs:
        left[row], left[:, column] = -1.0, -1.0
    while left.size and left.max() > 0:
        row, column = (int(i) for i in np.unravel_index(left.argmax(), left.shape))
        pairs.append((row, column))
        left[row], left[:, column] = -1.0, -1.0
    return pairs
