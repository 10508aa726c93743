"""Two sides of a set with each class in proportion on both, by iterative stratification (Sechidis et al. 2011)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Set


def stratify(classes: Mapping[int, Set[int]], *, val_fraction: float, seed: int) -> set[int]:
    """The videos that go to the validation side.

    The rarest class that is left is dealt out first, each of its videos to the side that still lacks most of it; videos
    without any class come last. The result depends on the arguments only, not on their order.

    Args:
        classes: video id -> the classes in it.
        val_fraction: within (0, 1). Both sides get at least one video where there are two.
    """
    rng = random.Random(seed)
    order = sorted(classes)
    rng.shuffle(order)
    shares = (1 - val_fraction, val_fraction)
    room = [share * len(order) for share in shares]
    counts: dict[int, int] = {}
    for found in classes.values():
        for label in found:
            counts[label] = counts.get(label, 0) + 1
    lacking = {label: [share * count for share in shares] for label, count in counts.items()}
    left, sides = dict.fromkeys(order), dict[int, int]()

    def place(video: int, label: int | None) -> None:
        wants = [(lacking[label][side] if label is not None else 0.0, room[side]) for side in (0, 1)]
        side = rng.randrange(2) if wants[0] == wants[1] else int(wants[1] > wants[0])
        sides[video] = side
        del left[video]
        room[side] -= 1
        for other in classes[video]:
            lacking[other][side] -= 1
            counts[other] -= 1

    while any(counts.values()):
        rarest = min((label for label in counts if counts[label]), key=lambda c: (counts[c], c))
        for video in [v for v in left if rarest in classes[v]]:
            place(video, rarest)
    for video in list(left):
        place(video, None)
    return _both_sides(order, sides)


def _both_sides(order: list[int], sides: dict[int, int]) -> set[int]:
    val = {video for video in order if sides[video]}
    if len(order) > 1 and len(val) in (0, len(order)):
        val ^= {order[0]}
    return val
