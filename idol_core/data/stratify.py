"""Split a data set with equal class proportions on both sides: iterative stratification (Sechidis et al. 2011)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Set


def stratify(
    classes: Mapping[int, Set[int]], *, val_fraction: float, seed: int, groups: Mapping[int, object] | None = None
) -> set[int]:
    """Choose the videos of the validation side.

    The rarest remaining class is assigned first, each of its videos to the side that still needs most of that class;
    videos without any class come last. The result does not depend on the order of the arguments' items.

    Args:
        classes: video id -> the classes in it.
        val_fraction: within (0, 1). Each side gets at least one video (or group) if there are two or more.
        groups: video id -> group key; all videos of a group go to the same side, large groups first.
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


def linked(items: Iterable[Iterable[Hashable]]) -> list[int]:
    """Group items that have a key in common, or are connected through other items.

    items: the keys of each. Returns for each the number of the first item of its group.
    """
    owner: dict[Hashable, int] = {}
    parent: list[int] = []

    def first(item: int) -> int:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    for item, keys in enumerate(items):
        parent.append(item)
        for key in keys:
            one, other = sorted((first(item), first(owner.setdefault(key, item))))
            parent[other] = one
    return [first(item) for item in range(len(parent))]


def _deal(units: Mapping[int, Mapping[int, int]], sizes: Mapping[int, int], val_fraction: float, seed: int) -> set[int]:
    """Choose the validation units. `units`: unit -> count of each class in it; `sizes`: unit -> videos (default: 1)."""
    rng = random.Random(seed)
    order = sorted(units)
    rng.shuffle(order)
    order.sort(key=lambda unit: -sizes.get(unit, 1))
    shares = (1 - val_fraction, val_fraction)
    room = [share * sum(sizes.get(unit, 1) for unit in order) for share in shares]
    total: Counter[int] = Counter()  # of each class, in all units
    left: Counter[int] = Counter()  # per class: units that contain it and are not yet assigned
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
