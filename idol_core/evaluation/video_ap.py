"""Video AP as the official YouTube-VIS evaluation has it (Yang et al. 2019, section 3: COCO's protocol over tracks)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
    """Scores on 0..1; -1 where no ground truth defines one.

    `stats` has AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl; `per_category` the same keys for every
    category id of the annotation file, ascending.
    """

    stats: dict[str, float]
    per_category: dict[int, dict[str, float]]
    category_names: dict[int, str]


class Ignored(NamedTuple):
    """What each group A leaves out in one category of one video."""

    truths: np.ndarray  # [A, G] bool
    unmatched: np.ndarray  # [A, D] bool, detections that don't count unless they match


def evaluate_vis(
    ground_truth: Mapping[str, Any] | Path, results: Iterable[Mapping[str, Any]] | Path, *, videos: Sequence[int] = ()
) -> VisScores:
    """Score results in YouTube-VIS format against an annotation file; both may be given as parsed or as a path.

    `videos` restricts the score to these video ids. Raises Missing where a file or its ground truth is not there, and
    Integrity, with a count and an example, for unknown ids, wrong frame counts, mask sizes or scores.
    """
    return score(compare(ground_truth, results), videos=videos)


def score(comparison: Comparison, *, videos: Sequence[int] = ()) -> VisScores:
    """Scores over all videos, or over `videos` only, of overlaps computed before."""
    curves = category_curves(comparison, _by_area, len(AREA_RANGES), videos=videos)
    return VisScores(
        stats=_stats(list(curves.values())),
        per_category={category: _stats([found]) for category, found in curves.items()},
        category_names=dict(comparison.categories),
    )


def category_curves(
    comparison: Comparison, ignore: Callable[[Pair], Ignored], groups: int, *, videos: Sequence[int] = ()
) -> dict[int, Curves]:
    """Precision and recall of every category; `ignore(pair)` says what each of `groups` groups leaves out."""
    parts: dict[int, list[Matched]] = {category: [] for category in comparison.categories}
    chosen = set(videos)
    for (video, category), pair in comparison.pairs.items():
        if chosen and video not in chosen:
            continue
        ignored = ignore(pair)
        crowd = np.array([t.crowd for t in pair.truths], bool)
        parts[category].append(
            match(
                pair.scores,
                pair.ious,
                crowd=crowd,
                gt_ignored=ignored.truths | crowd,
                unmatched_ignored=ignored.unmatched,
            )
        )
    return {category: accumulate(found, groups) for category, found in parts.items()}


def _by_area(pair: Pair) -> Ignored:
    ranges = np.array(list(AREA_RANGES.values()))
    lower, upper = ranges[:, :1], ranges[:, 1:]
    truths = np.array([t.area for t in pair.truths], np.float64)[None]
    areas = pair.areas[None]
    return Ignored((truths < lower) | (truths > upper), (areas < lower) | (areas > upper))


def group_stats(curves: Sequence[Curves], group: int) -> dict[str, float]:
    """AP, AP50, AP75, AR1, AR10, AR100 of one group, over these categories."""
    precision = np.stack([c.precision[group] for c in curves]) if curves else np.zeros((0, 10, 101))
    recall = np.stack([c.recall[:, group] for c in curves]) if curves else np.zeros((0, 3, 10))
    at50, at75 = (int(np.argmin(np.abs(IOU_THRESHOLDS - t))) for t in (0.5, 0.75))
    return {
        "AP": mean_defined(precision),
        "AP50": mean_defined(precision[:, at50]),
        "AP75": mean_defined(precision[:, at75]),
        **{f"AR{most}": mean_defined(recall[:, m]) for m, most in enumerate(MAX_DETECTIONS)},
    }


def _stats(curves: Sequence[Curves]) -> dict[str, float]:
    stats = group_stats(curves, 0)
    for a, name in enumerate(AREA_RANGES):
        if name:
            of_size = group_stats(curves, a)
            stats |= {f"AP{name}": of_size["AP"], f"AR{name}": of_size["AR100"]}
    return stats
