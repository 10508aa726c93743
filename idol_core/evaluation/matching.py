"""Match results to objects in one video or image, keeping the overlaps of all classes.

The matches are those of the AP protocol (`protocol.match`); errors, confusion and calibration derive from them.
T IoU thresholds (IOU_THRESHOLDS), D results, G objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from idol_core.evaluation.protocol import IOU_THRESHOLDS, MAX_DETECTIONS, match


class Matching(NamedTuple):
    """Results and objects of one video or image, matched class by class at each IoU threshold.

    Only results that AP uses: the 100 best of each class, sorted by class and then by descending score.
    """

    id: int  # of the video or image
    results: np.ndarray  # [D] int64, rows in the input of `match_results`
    scores: np.ndarray  # [D] float64
    categories: np.ndarray  # [D] int64, category ids
    truth_categories: np.ndarray  # [G] int64
    crowd: np.ndarray  # [G] bool, objects that AP ignores
    ious: np.ndarray  # [D, G] float64, across all classes
    taken: np.ndarray  # [T, D] int64, the object matched to the result, -1: none
    ignored: np.ndarray  # [T, D] bool, count as neither right nor wrong

    def right(self) -> np.ndarray:
        """[T, D] bool: results that count as true positives."""
        right: np.ndarray = (self.taken >= 0) & ~self.ignored
        return right

    def found(self, threshold: int) -> np.ndarray:
        """[G] bool: objects with a matched result at IOU_THRESHOLDS[threshold]."""
        found = np.zeros(len(self.crowd), bool)
        taken = self.taken[threshold]
        found[taken[taken >= 0]] = True
        return found


def match_results(
    number: int,
    scores: Sequence[float],
    categories: Sequence[int],
    ious: np.ndarray,
    truth_categories: np.ndarray,
    crowd: np.ndarray,
) -> Matching:
    """Match the results of one video or image. Ties keep the given order.

    Args:
        number: id of the video or image.
        scores, categories: of each result. truth_categories [G] int64, crowd [G] bool: of each object.
        ious: [results, G] float64, across all classes.
    """
    score, category = np.array(scores, np.float64), np.array(categories, np.int64)
    rows: list[np.ndarray] = []
    taken: list[np.ndarray] = []
    ignored: list[np.ndarray] = []
    for one in np.unique(category):
        mine = np.flatnonzero(category == one)
        mine = mine[np.argsort(-score[mine], kind="stable")][: MAX_DETECTIONS[-1]]
        objects = np.flatnonzero(truth_categories == one)
        matched = match(
            score[mine],
            ious[mine[:, None], objects],
            crowd=crowd[objects],
            gt_ignored=crowd[objects][None],
            unmatched_ignored=np.zeros((1, len(mine)), bool),
        )
        found = matched.taken[0]
        rows.append(mine)
        taken.append(np.where(found >= 0, objects[found], -1) if len(objects) else found)
        ignored.append(matched.ignored[0])
    kept = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    nothing = np.zeros((len(IOU_THRESHOLDS), 0))
    return Matching(
        id=number,
        results=kept,
        scores=score[kept],
        categories=category[kept],
        truth_categories=truth_categories,
        crowd=crowd,
        ious=ious[kept],
        taken=np.concatenate([nothing.astype(np.int64), *taken], axis=1),
        ignored=np.concatenate([nothing.astype(bool), *ignored], axis=1),
    )
