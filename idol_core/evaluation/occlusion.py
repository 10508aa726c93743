"""Video AP by degree of occlusion, as reported for OVIS (Qi et al. 2022)."""

from __future__ import annotations

import math

import numpy as np

from idol_core.errors import Integrity, Missing
from idol_core.evaluation.overlaps import Comparison, Pair
from idol_core.evaluation.protocol import accumulate
from idol_core.evaluation.video_ap import Ignored, category_curves, group_stats, mean_row
from idol_core.evaluation.ytvis_files import Truth

GROUPS = {"slight": (0.0, 0.25), "moderate": (0.25, 0.5), "heavy": (0.5, 1.0)}  # ranges include both ends
_LEVELS = {"no_occlusion": 0.0, "slight_occlusion": 0.25, "severe_occlusion": 0.75}


def occlusion_scores(comparison: Comparison, *, where: str = "") -> dict[str, dict[str, float]]:
    """AP, AP50, AP75, AR1, AR10, AR100 on 0..1 (-1: not defined) of each of GROUPS.

    Raises Missing, naming the annotation file `where`, if no object has occlusion levels; Integrity for an unknown
    level.
    """
    if not any(truth.occlusion for pair in comparison.pairs.values() for truth in pair.truths):
        raise Missing(
            "no object of the annotations has the field `occlusion`",
            where=where,
            fix="occlusion groups exist for OVIS only: leave out --occlusion",
        )
    undefined = group_stats(accumulate([], 1), 0)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in GROUPS}
    try:
        for _, curves in category_curves(comparison, _outside, len(GROUPS)):
            for group, name in enumerate(GROUPS):
                rows[name].append(group_stats(curves, group))
    except Integrity as error:
        error.where = error.where or f"{where or 'annotations'}: field occlusion"
        raise
    return {name: mean_row(found, undefined) for name, found in rows.items()}


def occlusion(truth: Truth) -> float:
    """Occlusion of an object, 0..1: mean of the larger half (rounded up) of its frames' levels; NaN without any.

    Raises Integrity for a level unknown to OVIS.
    """
    named = [level for level in truth.occlusion if level is not None]
    if unknown := sorted(set(map(str, named)) - set(_LEVELS)):
        raise Integrity(f"unknown occlusion level {unknown[0]!r}", fix=f"the levels are {', '.join(_LEVELS)} and null")
    levels = sorted((_LEVELS[level] for level in named), reverse=True)
    half = levels[: math.ceil(len(levels) / 2)]
    return math.fsum(half) / len(half) if half else math.nan


def _outside(pair: Pair) -> Ignored:
    """Ignore objects of other groups; unmatched results count as wrong in every group."""
    ranges = np.array(list(GROUPS.values()))
    levels = np.array([occlusion(truth) for truth in pair.truths], np.float64)[None]
    inside = (levels >= ranges[:, :1]) & (levels <= ranges[:, 1:])
    return Ignored(~inside, np.zeros((len(GROUPS), len(pair.scores)), bool))
