"""Classify the error of each wrong result and each lost object, following TIDE (Bolya et al. 2020).

Everything here is for one IoU threshold t; `docs/errors.md` has the definitions. IoUs up to BACKGROUND_IOU count as no
overlap. D results, G objects of one video or image.
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
    """Effect of correcting only the identities of a video's results; see `held.Identities`."""

    mended: np.ndarray  # [D, G] float64, corrected IoU over the video; 0 if the track never holds the object
    kinds: np.ndarray  # [D, G] int8
    main: np.ndarray  # [D, G] bool: the object is one that the track holds in the most frames
    known: np.ndarray  # [D] bool: the track holds an object of the result's class


class Judged(NamedTuple):
    """Errors in one video or image at one threshold. Kinds are indices into IMAGE_KINDS or TRACK_KINDS."""

    kinds: np.ndarray  # [D] int64, kind of error; -1: right or ignored
    targets: np.ndarray  # [D] int64, the object that the result gets when corrected, -1: none
    best: np.ndarray  # [D] bool, the best-scored result of a target that has no match
    lost: np.ndarray  # [G] int64, kind of error of objects that no result matches or targets; -1: none
    source: np.ndarray  # [G] int64, the result whose track holds the lost object besides others, -1: none


def judge_image(matching: Matching, threshold: int) -> Judged:
    """Classify image errors by TIDE's kinds, tested in the order of its code: loc, cls, dupe, bkg, both."""
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
    """Classify track errors, tested in this order: duplicate, switch/merge/fragment, class, mask, both, background."""
    own, other = _overlaps(matching)
    at = IOU_THRESHOLDS[threshold]
    wrong = _wrong(matching, threshold)
    most_own, most_other = own.max(1, initial=0), other.max(1, initial=0)
    explained = (identity.mended >= at) & (identity.kinds > 0)  # [D, G]
    free = ~matching.found(threshold) & ~matching.crowd
    of_identity = explained & _own(matching) & (free | identity.main)
    tests = {
        "duplicate": most_own > at,  # strict: two halves of an object have IoU .5 each and are fragments
        "switch": of_identity.any(1),  # or merge or fragment: decided below
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
    """[D, G] bool: object has the result's class and is no crowd."""
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
    """[D] int64: index of the first kind whose test holds, otherwise of `rest`; -1 for results that are not wrong."""
    kinds = np.select(list(tests.values()), [names.index(name) for name in tests], names.index(rest))
    return np.where(wrong, kinds, -1)


def _best(matching: Matching, threshold: int, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[D] bool: best-scored result of each unmatched target; [G] bool: objects neither matched nor targeted."""
    free = ~matching.found(threshold) & ~matching.crowd
    best = np.zeros(len(targets), bool)
    for row in np.argsort(-matching.scores, kind="stable"):
        if targets[row] >= 0 and free[targets[row]]:
            best[row], free[targets[row]] = True, False
    return best, free
