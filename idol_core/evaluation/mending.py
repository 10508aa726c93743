"""AP if only errors of one kind were corrected ("mended"), as in TIDE (Bolya et al. 2020, section 3.2).

Of the wrong results that target the same object, the best-scored one becomes right: it keeps its score and gets the
object's class. The others, and results without a target, are removed. A lost object that some track holds besides other
objects gets a result with that track's score; other lost objects are removed, as the score that they would have been
found with is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from idol_core.evaluation.error_kinds import Judged
from idol_core.evaluation.matching import Matching
from idol_core.evaluation.protocol import IOU_THRESHOLDS, RECALL_POINTS


@dataclass(frozen=True)
class Mended:
    """One kind of error: its count at an IoU threshold of .5, and the AP without such errors (0..100)."""

    count: int  # wrong results and lost objects
    ap: float | None  # None if no class has objects
    ap50: float | None


@dataclass(frozen=True)
class ErrorTable:
    """Actual AP, AP with each kind of error corrected, and AP with all corrected (0..100).

    Gains don't add up to the missing AP: a result or object can be wrong in several ways but is counted under one kind,
    and correcting one kind changes the cost of the others.
    """

    ap: float | None
    ap50: float | None
    kinds: dict[str, Mended]
    all: Mended


def error_table(names: Sequence[str], matchings: Sequence[Matching], judged: Sequence[Sequence[Judged]]) -> ErrorTable:
    """Build the error table of a data set. names: the kinds; judged: [IoU threshold][video or image].

    AP is the mean over thresholds; errors are classified at each one: a poor mask is right at .5 and wrong at .9.
    """
    pools = [pool(matchings, judged[threshold], threshold) for threshold in range(len(IOU_THRESHOLDS))]
    first = pools[0]
    counts = [int((first.kinds == kind).sum() + (first.lost_kinds == kind).sum()) for kind in range(len(names))]

    def mended(kinds: Collection[int]) -> tuple[float | None, float | None]:
        values = [100 * mended_ap(found, kinds) for found in pools]
        return (None, None) if values[0] < 0 else (float(np.mean(values)), values[0])

    return ErrorTable(
        *mended(()),
        {name: Mended(counts[kind], *mended([kind])) for kind, name in enumerate(names)},
        Mended(sum(counts), *mended(range(len(names)))),
    )


class Pool(NamedTuple):
    """All results and lost objects of a set at one threshold: N results, L lost objects."""

    scores: np.ndarray  # [N] float64
    categories: np.ndarray  # [N] int64
    right: np.ndarray  # [N] bool
    kinds: np.ndarray  # [N] int64, kind of error, -1: none
    mended: np.ndarray  # [N] int64, category of the corrected result, -1: it is removed
    lost_kinds: np.ndarray  # [L] int64
    lost_categories: np.ndarray  # [L] int64
    lost_scores: np.ndarray  # [L] float64, score when corrected, NaN: the object is removed
    positives: Mapping[int, int]  # category -> number of objects that count


def pool(matchings: Sequence[Matching], judged: Sequence[Judged], threshold: int) -> Pool:
    """Join all videos or images, in the order that breaks ties between equal scores; ignored results are dropped."""
    columns: list[tuple[np.ndarray, ...]] = []
    lost: list[tuple[np.ndarray, ...]] = []
    positives: dict[int, int] = {}
    for matching, found in zip(matchings, judged, strict=True):
        counts = ~matching.ignored[threshold]
        become = np.full(len(found.kinds), -1)
        become[found.best] = matching.truth_categories[found.targets[found.best]]
        hit = matching.taken[threshold] >= 0
        whole = (matching.scores, matching.categories, hit, found.kinds, become)
        columns.append(tuple(column[counts] for column in whole))
        rows = np.flatnonzero(found.lost >= 0)
        score = np.full(len(found.lost), np.nan)
        score[found.source >= 0] = matching.scores[found.source[found.source >= 0]]
        lost.append((found.lost[rows], matching.truth_categories[rows], score[rows]))
        for category in matching.truth_categories[~matching.crowd].tolist():
            positives[category] = positives.get(category, 0) + 1
    scores, categories, right, kinds, mended = _joined(columns, 5)
    lost_kinds, lost_categories, lost_scores = _joined(lost, 3)
    right = right.astype(bool)
    return Pool(scores, categories, right, kinds, mended, lost_kinds, lost_categories, lost_scores, positives)


def _joined(rows: Sequence[tuple[np.ndarray, ...]], width: int) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)] if rows else [np.zeros(0)] * width


def mended_ap(found: Pool, kinds: Collection[int]) -> float:
    """Mean AP (0..1) over the classes with objects, with errors of these kinds corrected; -1 if no class has objects.

    A class all of whose objects were lost and then removed counts as 1.
    """
    chosen = np.isin(found.kinds, list(kinds))
    kept = ~chosen | (found.mended >= 0)
    restored = np.isin(found.lost_kinds, list(kinds))
    dropped = restored & np.isnan(found.lost_scores)
    added = restored & ~dropped
    categories = np.where(chosen, found.mended, found.categories)[kept]
    categories = np.concatenate([categories, found.lost_categories[added]])
    scores = np.concatenate([found.scores[kept], found.lost_scores[added]])
    right = np.concatenate([(found.right | chosen)[kept], np.ones(added.sum(), bool)])
    order = np.argsort(-scores, kind="stable")
    categories, right = categories[order], right[order]
    values = []
    for category, positives in found.positives.items():
        left = positives - int((found.lost_categories[dropped] == category).sum())
        values.append(average_precision(right[categories == category], left) if left else 1.0)
    return float(np.mean(values)) if values else -1.0


def average_precision(right: np.ndarray, positives: int) -> float:
    """COCO's AP (precision at 101 recalls) of results by descending score; right [N] bool, positives > 0."""
    true = np.cumsum(right).astype(np.float64)
    precision = true / (np.arange(1, len(right) + 1) + np.spacing(1))
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(precision[np.searchsorted(true / positives, RECALL_POINTS, side="left")].mean())
