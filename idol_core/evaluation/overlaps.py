"""Compute the IoU of result tracks with ground-truth tracks, by video and class: the input of all video scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.oddities import Key as ResultKey
from idol_core.evaluation.oddities import mask_key, score_notes
from idol_core.evaluation.protocol import MAX_DETECTIONS
from idol_core.evaluation.track_iou import frame_areas, track_iou
from idol_core.evaluation.ytvis_files import GroundTruth, Key, Truth, read_ground_truth, read_results


class Pair(NamedTuple):
    """One category in one video: D results (the 100 best by descending score, ties in file order) and G truths."""

    truths: list[Truth]
    scores: np.ndarray  # [D] float64
    areas: np.ndarray  # [D] float64, pixels, mean over the frames where the result has any
    ious: np.ndarray  # [D, G] float64


class Comparison(NamedTuple):
    """Input for scoring; keys are sorted by video, then category."""

    categories: dict[int, str]
    videos: tuple[int, ...]
    pairs: dict[Key, Pair]
    notes: tuple[str, ...]  # see `score_notes`


class _Candidate(NamedTuple):
    score: float
    area: float  # mean over the frames where it has any
    masks: list[bytes | None]  # empty where the video has no ground truth of this category
    areas: np.ndarray  # [frames], pixels; empty in the same case


def compare(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, where: str = ""
) -> Comparison:
    """Read ground truth and results, check the results and compute all overlaps that scoring needs.

    `where` names the annotations in errors if an index is given.

    Raises Missing and Integrity as `read_ground_truth` and `read_results`.
    """
    truth = read_ground_truth(ground_truth, where=where)
    found: dict[Key, list[_Candidate]] = {}
    keys: list[ResultKey] = []
    for result in read_results(results, truth):
        key = (result.video, result.category)
        height, width, _ = truth.videos[result.video]
        areas = frame_areas(result.masks, height, width)
        keys.append((*key, mask_key(result.masks) if areas.any() else None))
        area = float(areas.sum() / max((areas > 0).sum(), 1))
        kept = (result.masks, areas) if key in truth.truths else ([], areas[:0])
        found.setdefault(key, []).append(_Candidate(result.score, area, *kept))
    pairs = {key: _pair(key, found.pop(key, []), truth) for key in sorted({*truth.truths, *found})}
    notes = score_notes(
        labelled={video for (video, _), objects in truth.truths.items() if not all(one.crowd for one in objects)},
        results=keys,
        objects=[(*key, mask_key(one.masks)) for key, some in truth.truths.items() for one in some],
        unit="video",
    )
    return Comparison(truth.categories, tuple(truth.videos), pairs, notes)


def _pair(key: Key, candidates: list[_Candidate], truth: GroundTruth) -> Pair:
    best = sorted(candidates, key=lambda c: -c.score)[: MAX_DETECTIONS[-1]]
    truths = truth.truths.get(key, [])
    ious = np.zeros((len(best), len(truths)))
    if ious.size:
        height, width, _ = truth.videos[key[0]]
        ious = track_iou(
            [c.masks for c in best],
            [t.masks for t in truths],
            np.stack([c.areas for c in best]),
            np.stack([frame_areas(t.masks, height, width) for t in truths]),
            height=height,
            width=width,
        )
    return Pair(truths, np.array([c.score for c in best]), np.array([c.area for c in best]), ious)
