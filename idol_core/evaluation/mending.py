"""AP that results would have if only errors of one kind were mended, as TIDE does it (Bolya et al. 2020, section 3.2).

A mended result is right, with the score that it has and the class of its object, if it is the best-scored one of those
that could be right about this object; the others, and those that have no object, are taken out. A lost object of which
a track holds the masks besides others' gets a result of this track's score; other lost objects are taken out, as it
can't be known with which score they would have been found.
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
    """One kind of error: how many there are at an IoU threshold of .5, and the AP without them (0..100)."""

    count: int  # wrong results and lost objects
    ap: float | None  # None where no class has objects
    ap50: float | None


@dataclass(frozen=True)
class ErrorTable:
    """AP as it is, what it would be with errors of one kind mended, and with all mended (0..100).

    Kinds overlap: a result or an object can be wrong in more than one way, of which one is told, and mending one kind
    changes what the others cost. So the gains don't add up to what is missing.
    """

    ap: float | None
    ap50: float | None
    kinds: dict[str, Mended]
    all: Mended


def error_table(names: Sequence[str], matchings: Sequence[Matching], judged: Sequence[Sequence[Judged]]) -> ErrorTable:
    """The table of a set; names: of the kinds; judged: of each of IOU_THRESHOLDS, every video or image.

    AP is the mean over thresholds, with errors told anew at each: a poor mask is right at .5 and wrong at .9.
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
    kinds: np.ndarray  # [N] int64, -1: nothing is wrong
    mended: np.ndarray  # [N] int64, category as which the result would be right, -1: it would be taken out
    lost_kinds: np.ndarray  # [L] int64
    lost_categories: np.ndarray  # [L] int64
    lost_scores: np.ndarray  # [L] float64, NaN: the object would be taken out
    positives: Mapping[int, int]  # category -> objects that count


def pool(matchings: Sequence[Matching], judged: Sequence[Judged], threshold: int) -> Pool:
    """Everything of a set in the order that breaks ties between equal scores; ignored results are left out."""
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
    """Mean AP over the classes with objects, 0..1, with errors of these kinds mended; -1 where no class has objects.

    A class of which every object was lost, all of them mended by being taken out, counts as 1.
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
    """AP of results by falling score, COCO's: precision at 101 recalls; right [N] bool, positives > 0."""
    true = np.cumsum(right).astype(np.float64)
    precision = true / (np.arange(1, len(right) + 1) + np.spacing(1))
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(precision[np.searchsorted(true / positives, RECALL_POINTS, side="left")].mean())
