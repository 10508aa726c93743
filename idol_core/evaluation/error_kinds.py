"""What is wrong with each result and each object that was not found, in the manner of TIDE (Bolya et al. 2020).

Everything here is at one IoU threshold t; `docs/errors.md` has the definitions. Overlaps up to BACKGROUND_IOU count as
none. D results, G objects of one video or image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from idol_core.evaluation.held import FRAGMENT, MERGE, SWITCH
from idol_core.evaluation.matching import Matching
from idol_core.evaluation.protocol import IOU_THRESHOLDS

BACKGROUND_IOU = 0.1
IMAGE_KINDS = ("cls", "loc", "both", "dupe", "bkg", "miss")
TRACK_KINDS = ("class", "mask", "switch", "fragment", "merge", "both", "duplicate", "background", "missed")
_IDENTITY = {SWITCH: "switch", FRAGMENT: "fragment", MERGE: "merge"}


class Identity(NamedTuple):
    """What mending identities alone would do to results of a video; see `held.Identities`."""

    mended: np.ndarray  # [D, G] float64, IoU over the video; 0 where the track never holds the object
    kinds: np.ndarray  # [D, G] int8
    main: np.ndarray  # [D, G] bool: the track holds no other object in more frames
    known: np.ndarray  # [D] bool: the track holds an object of the result's class


class Judged(NamedTuple):
    """Results and objects of one video or image at one threshold. Kinds are places in IMAGE_KINDS or TRACK_KINDS."""

    kinds: np.ndarray  # [D] int64, what is wrong with the result; -1: it is right, or ignored
    targets: np.ndarray  # [D] int64, the object that the result would be of if it were mended, -1: none
    best: np.ndarray  # [D] bool, no better-scored result has the same target, and nothing is matched to it
    lost: np.ndarray  # [G] int64, what is wrong where no result is matched to the object or targets it; -1: nothing
    source: np.ndarray  # [G] int64, the result whose track holds such an object besides others, -1: none


def judge_image(matching: Matching, threshold: int) -> Judged:
    """TIDE's kinds, tested in the order of its code: loc, cls, dupe, bkg, both."""
    own, other = _overlaps(matching)
    at = IOU_THRESHOLDS[threshold]
    wrong = _wrong(matching, threshold)
    most_own, most_other = own.max(1, initial=0), other.max(1, initial=0)
    tests = {
        "loc": (most_own >= BACKGROUND_IOU) & (most_own <= at),
        "cls": most_other >= at,
        "dupe": most_own > at,
        "bkg": np.maximum(most_own, most_other) <= BACKGROUND_IOU,
    }
    kinds = _first(IMAGE_KINDS, tests, "both", wrong)
    targets = np.full(len(kinds), -1)
    for kind, overlap in (("loc", own), ("cls", other)):
        rows = np.flatnonzero(kinds == IMAGE_KINDS.index(kind))
        targets[rows] = overlap[rows].argmax(1) if overlap.shape[1] else -1
    best, open_objects = _best(matching, threshold, targets)
    lost = np.where(open_objects, IMAGE_KINDS.index("miss"), -1)
    return Judged(kinds, targets, best, lost, np.full(len(lost), -1))


def judge_tracks(matching: Matching, identity: Identity, threshold: int) -> Judged:
    """Kinds of tracks, tested in this order: duplicate, switch or merge or fragment, class, mask, both, background."""
    own, other = _overlaps(matching)
    at = IOU_THRESHOLDS[threshold]
    wrong = _wrong(matching, threshold)
    most_own, most_other = own.max(1, initial=0), other.max(1, initial=0)
    explained = (identity.mended >= at) & (identity.kinds > 0)  # [D, G]
    free = ~matching.found(threshold) & ~matching.crowd
    of_identity = explained & _own(matching) & (free | identity.main)
    tests = {
        "duplicate": most_own > at,  # two halves of a track have .5 each: they are fragments
        "switch": of_identity.any(1),  # which of the three is told below
        "class": most_other >= at,
        "mask": most_own > BACKGROUND_IOU,
        "both": most_other > BACKGROUND_IOU,
    }
    kinds = _first(TRACK_KINDS, tests, "background", wrong)
    targets = np.full(len(kinds), -1)
    for kind, overlap in (("mask", own), ("class", other)):
        rows = np.flatnonzero(kinds == TRACK_KINDS.index(kind))
        targets[rows] = overlap[rows].argmax(1) if overlap.shape[1] else -1
    rows = np.flatnonzero(kinds == TRACK_KINDS.index("switch"))
    for row in rows[np.argsort(-matching.scores[rows], kind="stable")]:
        objects = np.flatnonzero(of_identity[row])
        target = max(objects, key=lambda g: (free[g], matching.ious[row, g]))
        targets[row], free[target] = target, False
        kinds[row] = TRACK_KINDS.index(_IDENTITY[int(identity.kinds[row, target])])
    best, open_objects = _best(matching, threshold, targets)
    lost = np.where(open_objects, TRACK_KINDS.index("missed"), -1)
    source = np.full(len(lost), -1)
    for g in np.flatnonzero(open_objects):
        holders = np.flatnonzero(explained[:, g] & identity.known)
        if len(holders):
            source[g] = holders[matching.scores[holders].argmax()]
            lost[g] = TRACK_KINDS.index(_IDENTITY[int(identity.kinds[source[g], g])])
    return Judged(kinds, targets, best, lost, source)


def _own(matching: Matching) -> np.ndarray:
    """[D, G] bool: objects of the result's class, without crowds."""
    own: np.ndarray = (matching.categories[:, None] == matching.truth_categories) & ~matching.crowd
    return own


def _overlaps(matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """IoU with objects of the result's class and with those of other classes, each [D, G] with 0 elsewhere."""
    own = _own(matching)
    return np.where(own, matching.ious, 0), np.where(~own & ~matching.crowd, matching.ious, 0)


def _wrong(matching: Matching, threshold: int) -> np.ndarray:
    wrong: np.ndarray = (matching.taken[threshold] < 0) & ~matching.ignored[threshold]
    return wrong


def _first(names: tuple[str, ...], tests: dict[str, np.ndarray], rest: str, wrong: np.ndarray) -> np.ndarray:
    """[D] int64: place of the first kind whose test holds, else that of `rest`; -1 for what is not wrong."""
    kinds = np.select(list(tests.values()), [names.index(name) for name in tests], names.index(rest))
    return np.where(wrong, kinds, -1)


def _best(matching: Matching, threshold: int, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[D] bool, the best-scored result of each target that nothing is matched to; [G] bool, objects without either."""
    free = ~matching.found(threshold) & ~matching.crowd
    best = np.zeros(len(targets), bool)
    for row in np.argsort(-matching.scores, kind="stable"):
        if targets[row] >= 0 and free[targets[row]]:
            best[row], free[targets[row]] = True, False
    return best, free
