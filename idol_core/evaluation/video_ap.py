"""Video AP as in the official YouTube-VIS evaluation (Yang et al. 2019, section 3: COCO's protocol over tracks)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.overlaps import Comparison, Pair, compare
from idol_core.evaluation.protocol import (
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    Curves,
    Matched,
    accumulate,
    match,
    mean_defined,
)

AREA_RANGES = {"": (0.0, 1e10), "s": (0.0, 128.0**2), "m": (128.0**2, 256.0**2), "l": (256.0**2, 1e10)}


@dataclass(frozen=True)
class VisScores:
    """Video scores on 0..1; -1 where undefined (no ground truth).

    `stats` has AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl; `per_category` has the same keys for
    each category id of the annotation file, ascending.
    """

    stats: dict[str, float]
    per_category: dict[int, dict[str, float]]
    category_names: dict[int, str]


class Ignored(NamedTuple):
    """What each group A ignores in one category of one video."""

    truths: np.ndarray  # [A, G] bool
    unmatched: np.ndarray  # [A, D] bool, detections ignored if unmatched


def evaluate_vis(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, videos: Sequence[int] = ()
) -> VisScores:
    """Score results in YouTube-VIS format against annotations: an index, an annotation file or its content.

    `videos` restricts the score to these video ids. Raises Missing if a file or its ground truth is missing, and
    Integrity, with a count and an example, for unknown ids and wrong frame counts, mask sizes or scores.
    """
    return score(compare(ground_truth, results), videos=videos)


def score(comparison: Comparison, *, videos: Sequence[int] = ()) -> VisScores:
    """Compute scores from precomputed overlaps, over all videos or over `videos` only."""
    rows = {
        category: _stats(curves)
        for category, curves in category_curves(comparison, _by_area, len(AREA_RANGES), videos=videos)
    }
    undefined = _stats(accumulate([], len(AREA_RANGES)))
    return VisScores(
        stats=mean_row(rows.values(), undefined),
        per_category={category: rows.get(category, undefined) for category in comparison.categories},
        category_names=dict(comparison.categories),
    )


def category_curves(
    comparison: Comparison, ignore: Callable[[Pair], Ignored], groups: int, *, videos: Sequence[int] = ()
) -> Iterator[tuple[int, Curves]]:
    """Precision and recall of each category with ground truth; `ignore(pair)`: what each of the `groups` ignores."""
    chosen = set(videos)
    pairs: dict[int, list[Pair]] = {}
    for (video, category), pair in comparison.pairs.items():
        if not chosen or video in chosen:
            pairs.setdefault(category, []).append(pair)
    for category, found in pairs.items():
        if any(pair.truths for pair in found):
            yield category, accumulate([_matched(pair, ignore(pair)) for pair in found], groups)


def _matched(pair: Pair, ignored: Ignored) -> Matched:
    crowd = np.array([t.crowd for t in pair.truths], bool)
    return match(
        pair.scores,
        pair.ious,
        crowd=crowd,
        gt_ignored=ignored.truths | crowd,
        unmatched_ignored=ignored.unmatched,
    )


def _by_area(pair: Pair) -> Ignored:
    ranges = np.array(list(AREA_RANGES.values()))
    lower, upper = ranges[:, :1], ranges[:, 1:]
    truths = np.array([t.area for t in pair.truths], np.float64)[None]
    areas = pair.areas[None]
    return Ignored((truths < lower) | (truths > upper), (areas < lower) | (areas > upper))


def group_stats(curves: Curves, group: int) -> dict[str, float]:
    """AP, AP50, AP75, AR1, AR10, AR100 of one group of one category."""
    precision, recall = curves.precision[group], curves.recall[:, group]
    at50, at75 = (int(np.argmin(np.abs(IOU_THRESHOLDS - t))) for t in (0.5, 0.75))
    return {
        "AP": mean_defined(precision),
        "AP50": mean_defined(precision[at50]),
        "AP75": mean_defined(precision[at75]),
        **{f"AR{most}": mean_defined(recall[m]) for m, most in enumerate(MAX_DETECTIONS)},
    }


def mean_row(rows: Iterable[Mapping[str, float]], undefined: Mapping[str, float]) -> dict[str, float]:
    """Mean of each metric over the categories that define it.

    It equals the mean over the points of all their curves, as these are equally long.
    """
    found = list(rows)
    return {key: mean_defined(np.array([row[key] for row in found])) for key in undefined}


def _stats(curves: Curves) -> dict[str, float]:
    stats = group_stats(curves, 0)
    for a, name in enumerate(AREA_RANGES):
        if name:
            of_size = group_stats(curves, a)
            stats |= {f"AP{name}": of_size["AP"], f"AR{name}": of_size["AR100"]}
    return stats
