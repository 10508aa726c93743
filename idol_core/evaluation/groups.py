"""AP by groups: objects by how many frames show them, videos by how many objects they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from idol_core.evaluation.overlaps import Comparison, Pair
from idol_core.evaluation.protocol import accumulate
from idol_core.evaluation.video_ap import Ignored, category_curves, group_stats, mean_row, score


class Group(NamedTuple):
    """Scores of the objects whose count (of frames, or of objects in their video) is in low..high."""

    low: int
    high: int
    objects: int
    stats: dict[str, float]  # AP, AP50, AP75, AR1, AR10, AR100 on 0..1, -1: not defined


def by_length(comparison: Comparison) -> list[Group]:
    """AP of objects by the number of frames that show them; unmatched results count as wrong in every group."""
    pairs = comparison.pairs.values()
    lengths = [_length(t.masks) for pair in pairs for t in pair.truths if not t.crowd]
    ranges = thirds(lengths)
    if not ranges:
        return []

    def outside(pair: Pair) -> Ignored:
        own = np.array([_length(t.masks) for t in pair.truths], np.int64)[None]
        lows, highs = np.array(ranges).T[:, :, None]
        return Ignored((own < lows) | (own > highs), np.zeros((len(ranges), len(pair.scores)), bool))

    undefined = group_stats(accumulate([], 1), 0)
    rows: list[list[dict[str, float]]] = [[] for _ in ranges]
    for _, curves in category_curves(comparison, outside, len(ranges)):
        for place, found in enumerate(rows):
            found.append(group_stats(curves, place))
    return [
        Group(low, high, sum(low <= n <= high for n in lengths), mean_row(found, undefined))
        for (low, high), found in zip(ranges, rows, strict=True)
    ]


def by_number(comparison: Comparison) -> list[Group]:
    """AP of videos by their number of objects (crowds are not counted)."""
    numbers = dict.fromkeys(comparison.videos, 0)
    for (video, _), pair in comparison.pairs.items():
        numbers[video] += sum(not t.crowd for t in pair.truths)
    found = []
    for low, high in thirds([n for n in numbers.values() if n]):
        videos = [video for video, n in numbers.items() if low <= n <= high]
        stats = score(comparison, videos=videos).stats
        found.append(Group(low, high, sum(numbers[v] for v in videos), stats))
    return found


def thirds(values: Sequence[int]) -> list[tuple[int, int]]:
    """Divide values into up to three ranges (ends inclusive) of about equal counts."""
    if not values:
        return []
    ordered = sorted(values)
    cuts = [ordered[(len(ordered) * k) // 3] for k in (1, 2)]
    edges = sorted({ordered[0], *(c for c in cuts if c > ordered[0])})
    return list(zip(edges, [*(e - 1 for e in edges[1:]), ordered[-1]], strict=True))


def _length(masks: Sequence[bytes | None]) -> int:
    return sum(mask is not None for mask in masks)
