"""COCO's evaluation protocol on precomputed IoUs: greedy matching by score, interpolated precision, recall.

Arrays have a leading axis A of groups (area ranges, occlusion groups): each group ignores some ground truths and some
unmatched detections. T IoU thresholds, D detections, G ground truths, R recall points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = (1, 10, 100)  # per video (or image) and category


class Matched(NamedTuple):
    """Matched detections of one category in one video, at most 100, by descending score."""

    scores: np.ndarray  # [D] float64
    hit: np.ndarray  # [A, T, D] bool, matched to any ground truth
    ignored: np.ndarray  # [A, T, D] bool, count as neither right nor wrong
    taken: np.ndarray  # [A, T, D] int64, row of the matched ground truth, -1: none
    positives: np.ndarray  # [A] int64, ground truths that count


class Curves(NamedTuple):
    """Precision and recall of one category; -1 for groups without a ground truth that counts."""

    precision: np.ndarray  # [A, T, R] at the largest of MAX_DETECTIONS
    recall: np.ndarray  # [M, A, T] for each of MAX_DETECTIONS


def match(
    scores: np.ndarray,
    ious: np.ndarray,
    *,
    crowd: np.ndarray,
    gt_ignored: np.ndarray,
    unmatched_ignored: np.ndarray,
) -> Matched:
    """Match detections in order: each takes the unmatched ground truth with the largest IoU at or above the threshold.

    Args:
        scores: [D], descending. ious: [D, G] float64. crowd: [G] bool; a crowd can be matched repeatedly.
        gt_ignored: [A, G] bool; matched only if no other ground truth is available; the detection is then ignored.
        unmatched_ignored: [A, D] bool, detections that are ignored if unmatched.
    """
    groups, detections = unmatched_ignored.shape
    thresholds = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    hit = np.zeros((groups, len(thresholds), detections), bool)
    ignored = np.repeat(unmatched_ignored[:, None], len(thresholds), axis=1)
    taken = np.full(hit.shape, -1)
    free = np.ones((groups, len(thresholds), ious.shape[1]), bool)
    for d in np.flatnonzero((ious >= thresholds[0]).any(axis=1)) if ious.size else ():
        near = np.flatnonzero(ious[d] >= thresholds[0])[::-1]  # ties: the last one is taken
        options = free[:, :, near] & (ious[d, near] >= thresholds[:, None])
        ignorable = np.broadcast_to(gt_ignored[:, None, near], options.shape)
        proper = options & ~ignorable
        pool = np.where(proper.any(-1, keepdims=True), proper, options)
        best = np.where(pool, ious[d, near], -1.0).argmax(-1)
        found = pool.any(-1)
        a, t = np.nonzero(found)
        chosen = best[a, t]
        hit[:, :, d] = found
        ignored[a, t, d] = ignorable[a, t, chosen]
        taken[a, t, d] = near[chosen]
        free[a, t, near[chosen]] = crowd[near[chosen]]
    return Matched(scores, hit, ignored, taken, (~gt_ignored).sum(1))


def accumulate(parts: Sequence[Matched], groups: int) -> Curves:
    """Compute precision and recall of one category; the order of `parts` (videos) breaks ties between equal scores."""
    shape = (groups, len(IOU_THRESHOLDS))
    precision = np.full((*shape, len(RECALL_POINTS)), -1.0)
    recall = np.full((len(MAX_DETECTIONS), *shape), -1.0)
    positives = sum((p.positives for p in parts), np.zeros(groups, np.int64))
    counted = np.flatnonzero(positives)
    if not len(counted):
        return Curves(precision, recall)
    scores = np.concatenate([p.scores for p in parts])
    rank = np.concatenate([np.arange(len(p.scores)) for p in parts])
    order = np.argsort(-scores, kind="stable")
    hit = np.concatenate([p.hit for p in parts], axis=2)[counted][..., order]
    ignored = np.concatenate([p.ignored for p in parts], axis=2)[counted][..., order]
    right, wrong = hit & ~ignored, ~hit & ~ignored
    total = positives[counted, None].astype(np.float64)
    for m, most in enumerate(MAX_DETECTIONS):
        recall[m, counted] = right[..., rank[order] < most].sum(-1) / total
    true = np.cumsum(right[..., rank[order] < MAX_DETECTIONS[-1]], axis=-1).astype(np.float64)
    false = np.cumsum(wrong[..., rank[order] < MAX_DETECTIONS[-1]], axis=-1).astype(np.float64)
    sharp = true / (true + false + np.spacing(1))
    sharp = np.maximum.accumulate(sharp[..., ::-1], axis=-1)[..., ::-1]  # highest precision at this recall or above
    sharp = np.concatenate([sharp, np.zeros((*sharp.shape[:2], 1))], axis=-1)
    reached = true / total[..., None]
    for i, a in enumerate(counted):
        for t in range(len(IOU_THRESHOLDS)):
            precision[a, t] = sharp[i, t, np.searchsorted(reached[i, t], RECALL_POINTS, side="left")]
    return Curves(precision, recall)


def mean_defined(values: np.ndarray) -> float:
    """Mean of the defined entries (not -1); -1 if there are none."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0
