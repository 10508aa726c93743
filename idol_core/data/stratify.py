"""Two sides of a set with each class in proportion on both, by iterative stratification (Sechidis et al. 2011)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Set


def stratify(
    classes: Mapping[int, Set[int]], *, val_fraction: float, seed: int, groups: Mapping[int, object] | None = None
) -> set[int]:
    """The videos that go to the validation side.

    The rarest class that is left is dealt out first, each of its videos to the side that still lacks most of it; videos
    without any class come last. The result depends on the arguments only, not on their order.

    Args:
        classes: video id -> the classes in it.
        val_fraction: within (0, 1). Both sides get at least one video (or group) where there are two.
        groups: video id -> what keeps it together with others: videos of one group go to one side, large groups first.
    """
    if groups is None:
        return _deal({v: dict.fromkeys(found, 1) for v, found in classes.items()}, {}, val_fraction, seed)
    members: dict[object, list[int]] = {}
    for video in sorted(classes):
        members.setdefault(groups[video], []).append(video)
    by_first = {videos[0]: videos for videos in members.values()}
    counts = {first: dict(Counter(c for v in videos for c in classes[v])) for first, videos in by_first.items()}
    val = _deal(counts, {first: len(videos) for first, videos in by_first.items()}, val_fraction, seed)
    return {video for first in val for video in by_first[first]}


def _deal(units: Mapping[int, Mapping[int, int]], sizes: Mapping[int, int], val_fraction: float, seed: int) -> set[int]:
    """The units on the validation side. `units`: how often each class is in it; `sizes`: its videos (default: one)."""
    rng = random.Random(seed)
    order = sorted(units)
    rng.shuffle(order)
    order.sort(key=lambda unit: -sizes.get(unit, 1))
    shares = (1 - val_fraction, val_fraction)
    room = [share * sum(sizes.get(unit, 1) for unit in order) for share in shares]
    total: Counter[int] = Counter()  # of each class, in all units
    left: Counter[int] = Counter()  # units with each class that are not dealt out
    for found in units.values():
        total.update(found)
        left.update(found.keys())
    lacking = {label: [share * count for share in shares] for label, count in total.items()}
    waiting, sides = dict.fromkeys(order), dict[int, int]()

    def place(unit: int, label: int | None) -> None:
        wants = [(lacking[label][side] if label is not None else 0.0, room[side]) for side in (0, 1)]
        side = rng.randrange(2) if wants[0] == wants[1] else int(wants[1] > wants[0])
        sides[unit] = side
        del waiting[unit]
        room[side] -= sizes.get(unit, 1)
        for other, count in units[unit].items():
            lacking[other][side] -= count
            left[other] -= 1

    while any(left.values()):
        rarest = min((label for label in left if left[label]), key=lambda c: (left[c], c))
        for unit in [u for u in waiting if rarest in units[u]]:
            place(unit, rarest)
    for unit in list(waiting):
        place(unit, None)
    return _both_sides(order, sides)


def _both_sides(order: list[int], sides: dict[int, int]) -> set[int]:
    val = {video for video in order if sides[video]}
    if len(order) > 1 and len(val) in (0, len(order)):
        val ^= {order[0]}
    return val
