"""Find which objects a track holds in each frame, and the IoU it would have if only identities were corrected.

A track *holds* an object in a frame if, of all objects there, their masks overlap most, with an IoU of at least .5. It
holds several at once if it covers at least half of each of them and fits them taken together (IoU of at least .5)
better than any one of them. An object that it never holds alone, and holds in fewer than half of the frames that show
it, is ignored as incidental contact. F frames, U tracks, G objects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.evaluation.scenes import FrameOverlaps, Scene

SWITCH, FRAGMENT, MERGE = 1, 2, 3
HELD_IOU = 0.5


class Identities(NamedTuple):
    """Which tracks hold which objects in one video, and their identity errors."""

    held: np.ndarray  # [F, U, G] bool, the track holds the object in the frame
    mended: np.ndarray  # [U, G] float64, IoU over the video with identities corrected; 0 if never held
    kinds: np.ndarray  # [U, G] int8, error: SWITCH, FRAGMENT or MERGE; 0: none


class _Parts(NamedTuple):
    """Overlap of P tracks with one object in each frame; mask parts on other objects held at once are excluded."""

    held: np.ndarray  # [F, P] bool
    inter: np.ndarray  # [F, P] float64, pixels
    union: np.ndarray  # [F, P] float64, pixels

    def some(self, rows: np.ndarray | list[int]) -> _Parts:
        """Select tracks by row."""
        return _Parts(self.held[:, rows], self.inter[:, rows], self.union[:, rows])


def identities(scene: Scene, overlaps: FrameOverlaps) -> Identities:
    """Find which track holds which object in a video, and classify identity errors.

    `mended[u, g]` is the IoU with object g that track u would have if it stayed on g. Its mask in a frame is then: its
    own (without the parts on other objects that it holds at the same time) if u holds g; otherwise that of a track that
    takes turns with u on g; otherwise its own if u holds nothing; otherwise none. Two tracks take turns on an object if
    they hold it together in at most half as many frames as the one of them that holds it less.

    The error is a SWITCH if u holds several objects and takes turns on one of them, or takes turns with such a track; a
    MERGE if u holds several objects and takes turns on none, or mostly holds them at once; a FRAGMENT if u and all
    tracks with which it takes turns on g hold only g.
    """
    held = _held(scene, overlaps)
    frames = held.sum(0)
    turns = [_take_turns(held[:, :, g], frames[:, g]) for g in range(held.shape[2])]  # [U, U] bool each
    several = (frames > 0).sum(1) > 1
    merging = _merging(held, frames, turns) & several
    mended = np.zeros(frames.shape)
    kinds = np.zeros(frames.shape, np.int8)
    for g, together in enumerate(turns):
        holders = np.flatnonzero(frames[:, g])
        if not len(holders):
            continue
        parts = _parts(held, overlaps, holders, g)
        for row, u in enumerate(holders.tolist()):
            others = np.flatnonzero(together[u, holders])
            mended[u, g] = _joined(held[:, u], overlaps, u, g, parts.some([row]), parts.some(others))
            company = holders[others]
            if several[u]:
                kinds[u, g] = MERGE if merging[u] else SWITCH
            elif (several & ~merging)[company].any():
                kinds[u, g] = SWITCH
            elif merging[company].any():
                kinds[u, g] = MERGE
            elif len(company):
                kinds[u, g] = FRAGMENT
    return Identities(held, mended, kinds)


def _held(scene: Scene, overlaps: FrameOverlaps) -> np.ndarray:
    ious = overlaps.ious()
    held = np.zeros(ious.shape, bool)
    if not held.size:
        return held
    best = ious.argmax(2)
    frame, track = np.nonzero(ious.max(2) >= HELD_IOU)
    held[frame, track, best[frame, track]] = True
    covered = (overlaps.inter >= 0.5 * overlaps.truths.T[:, None, :]) & (overlaps.inter > 0)
    for f, u in np.argwhere(covered.sum(2) > 1).tolist():
        objects = np.flatnonzero(covered[f, u])
        together = _union_iou(scene, f, u, objects)
        if together >= HELD_IOU and together > ious[f, u].max():
            held[f, u] = covered[f, u]
    alone = (held & (held.sum(2) == 1)[:, :, None]).any(0)
    shown = (overlaps.truths > 0).sum(1)
    held &= alone | (held.sum(0) >= 0.5 * shown)
    return held


def _union_iou(scene: Scene, frame: int, track: int, objects: np.ndarray) -> float:
    """IoU of a track's mask with several objects taken together."""
    size = [scene.video.height, scene.video.width]
    masks = [{"size": size, "counts": scene.truths[g].masks[frame]} for g in objects]
    mine = {"size": size, "counts": scene.tracks[track][frame]}
    return float(coco_mask.iou([mine], [coco_mask.merge(masks)], [0])[0, 0])


def _take_turns(held: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """[U, U] bool: two tracks hold an object in different frames; held [F, U] bool, frames [U] held frames of each."""
    both = held.T.astype(np.int64) @ held
    turns: np.ndarray = (both <= 0.5 * np.minimum(frames[:, None], frames)) & (frames[:, None] > 0) & (frames > 0)
    return turns & ~np.eye(len(frames), dtype=bool)


def _merging(held: np.ndarray, frames: np.ndarray, turns: list[np.ndarray]) -> np.ndarray:
    """[U] bool, for tracks with several objects: they mostly hold them at once, or take turns with no other track."""
    if not turns:
        return np.zeros(held.shape[1], bool)
    number = held.sum(2)
    at_once = (number > 1).sum(0)
    main = frames.argmax(1)
    elsewhere = ((number == 1) & ~held[:, np.arange(len(main)), main]).sum(0)
    taking = np.stack(turns).any((0, 2))
    merging: np.ndarray = ~taking | ((at_once > 0) & (at_once >= elsewhere))
    return merging


def _parts(held: np.ndarray, overlaps: FrameOverlaps, holders: np.ndarray, g: int) -> _Parts:
    inter = overlaps.inter[:, holders]
    mine = held[:, holders]
    elsewhere = (np.delete(mine, g, axis=2) * np.delete(inter, g, axis=2)).sum(2)
    size = overlaps.truths[g][:, None]
    union = overlaps.tracks[holders].T - elsewhere + size - inter[:, :, g]
    return _Parts(mine[:, :, g], inter[:, :, g], np.maximum(union, size))


def _joined(held: np.ndarray, overlaps: FrameOverlaps, u: int, g: int, own: _Parts, others: _Parts) -> float:
    """IoU of track u with object g if tracks in `others` replace it in frames where u does not hold g; held [F, G]."""
    size, inter = overlaps.truths[g], overlaps.inter[:, u, g]
    with_others = held.any(1)  # frames in which u holds any object; in the others its stray mask counts
    common = np.where(with_others, 0.0, inter)
    total = np.where(with_others, size, overlaps.tracks[u] + size - inter)
    for part in (others, own):  # `own` last: it overrides `others`
        if part.held.size:
            best = np.where(part.held, part.inter / np.maximum(part.union, 1), -1.0).argmax(1)
            frames, there = np.arange(len(size)), part.held.any(1)
            common = np.where(there, part.inter[frames, best], common)
            total = np.where(there, part.union[frames, best], total)
    return float(common.sum() / max(total.sum(), 1))
