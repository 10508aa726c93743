"""Data for charts: class confusion, scores of right and wrong results, calibration, precision-recall curves.

Everything is computed from matched videos or images (`track_errors.match_scenes`, `image_errors.match_images`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from idol_core.evaluation.matching import Matching
from idol_core.evaluation.protocol import IOU_THRESHOLDS, Matched, accumulate


class Confusion(NamedTuple):
    """Class confusion matrix; the last row is for "no object", the last column for "no result"."""

    categories: list[int]  # category ids [K], ascending
    matrix: np.ndarray  # [K + 1, K + 1] int64; row: class of the object, column: class of the result


class ScoredResults(NamedTuple):
    """All results that AP uses at an IoU threshold of .5, without ignored ones; arrays [N]."""

    scores: np.ndarray  # float64
    right: np.ndarray  # bool
    categories: np.ndarray  # int64


class CalibrationBin(NamedTuple):
    """Results with scores in one interval."""

    lower: float  # exclusive lower bound (inclusive in the first bin)
    upper: float
    results: int  # number of results
    score: float  # mean score; the middle of the interval if empty
    right: float  # share of right results, 0..1; 0 if empty


class PRCurve(NamedTuple):
    """Precision of one class at RECALL_POINTS (0, .01, ..., 1), 0..1."""

    category: int
    objects: int
    precision: dict[int, np.ndarray]  # by IoU threshold in percent (50, 55, ..., 95): [101] float64


def confusion(matchings: Sequence[Matching], categories: Sequence[int], *, min_score: float = 0.0) -> Confusion:
    """Match results (score >= `min_score`) to objects of any class, best score first, at IoU >= .5.

    Each result takes the unmatched object of largest IoU. One that overlaps only matched objects is not counted: it is
    a duplicate, or the same track under another class. Crowds are not counted either.
    """
    places = {category: row for row, category in enumerate(sorted(categories))}
    nothing = len(places)
    matrix = np.zeros((nothing + 1, nothing + 1), np.int64)
    for one in matchings:
        free = ~one.crowd
        rows = np.flatnonzero(one.scores >= min_score)
        for row in rows[np.argsort(-one.scores[rows], kind="stable")]:
            near = np.flatnonzero(one.ious[row] >= IOU_THRESHOLDS[0])
            open_objects = near[free[near]]
            if len(open_objects):
                g = open_objects[one.ious[row, open_objects].argmax()]
                free[g] = False
                matrix[places[int(one.truth_categories[g])], places[int(one.categories[row])]] += 1
            elif not len(near):
                matrix[nothing, places[int(one.categories[row])]] += 1
        for category in one.truth_categories[free].tolist():
            matrix[places[category], nothing] += 1
    return Confusion(sorted(categories), matrix)


def scored_results(matchings: Sequence[Matching]) -> ScoredResults:
    """Collect right and wrong results by descending score."""
    counted = [~one.ignored[0] for one in matchings]
    pairs = list(zip(matchings, counted, strict=True))
    scores = np.concatenate([np.zeros(0), *(one.scores[kept] for one, kept in pairs)])
    right = np.concatenate([np.zeros(0, bool), *((one.taken[0] >= 0)[kept] for one, kept in pairs)])
    categories = np.concatenate([np.zeros(0, np.int64), *(one.categories[kept] for one, kept in pairs)])
    order = np.argsort(-scores, kind="stable")
    return ScoredResults(scores[order], right[order], categories[order])


def calibration(found: ScoredResults, bins: int = 10) -> list[CalibrationBin]:
    """Bin results by score into equal intervals of 0..1: mean score and share of right results."""
    edges = np.linspace(0, 1, bins + 1)
    member = np.clip(np.searchsorted(edges, found.scores, side="left") - 1, 0, bins - 1)
    rows = []
    for number, (lower, upper) in enumerate(itertools.pairwise(edges.tolist())):
        mine = member == number
        some = bool(mine.any())
        score = float(found.scores[mine].mean()) if some else (lower + upper) / 2
        rows.append(
            CalibrationBin(lower, upper, int(mine.sum()), score, float(found.right[mine].mean()) if some else 0.0)
        )
    return rows


def calibration_error(rows: Sequence[CalibrationBin]) -> float:
    """Expected calibration error (ECE), 0..1: mean difference of score and share of right results; 0 without any."""
    total = sum(row.results for row in rows)
    return sum(row.results * abs(row.score - row.right) for row in rows) / max(total, 1)


def pr_curves(matchings: Sequence[Matching], categories: Sequence[int]) -> list[PRCurve]:
    """Precision-recall curves of the classes that have objects, ids ascending; their mean is AP."""
    found = []
    for category in sorted(categories):
        parts = [_of_class(one, category) for one in matchings]
        objects = sum(int(part.positives[0]) for part in parts)
        if objects:
            precision = accumulate(parts, 1).precision[0]
            levels = [round(100 * float(threshold)) for threshold in IOU_THRESHOLDS]
            found.append(PRCurve(category, objects, dict(zip(levels, precision, strict=True))))
    return found


def _of_class(one: Matching, category: int) -> Matched:
    mine = one.categories == category
    taken, ignored = one.taken[None, :, mine], one.ignored[None, :, mine]
    objects = (one.truth_categories == category) & ~one.crowd
    return Matched(one.scores[mine], taken >= 0, ignored, taken, np.array([objects.sum()]))
