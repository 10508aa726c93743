"""Identity metrics over the masks of tracks: HOTA, IDF1 and MOTA, as the package TrackEval computes them.

HOTA and its parts DetA, AssA and LocA: Luiten et al. 2021; IDF1: Ristani et al. 2016; MOTA and IDSW: Bernardin and
Stiefelhagen 2008. Tracks of one class are compared with objects of this class only; crowds count as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from idol_core.evaluation import IDENTITY_METRICS
from idol_core.evaluation.scenes import Entry, Scene, Scenes, best_classes, frame_overlaps, read_scenes
from idol_core.evaluation.ytvis_files import GroundTruthSource

ALPHAS = np.arange(0.05, 0.99, 0.05)  # 19 overlaps at which a detection counts, for HOTA and its parts
MIN_IOU = 0.5  # overlap at which a detection counts, for IDF1, MOTA and IDSW

_EPS = np.finfo(np.float64).eps


class Counts(NamedTuple):
    """What the metrics are made of; counts of several videos or classes add up.

    The first six are [19] float64, one for each of ALPHAS; the others are numbers of detections at MIN_IOU.
    """

    found: np.ndarray  # detections of objects that are matched
    missed: np.ndarray  # detections of objects that are not
    false: np.ndarray  # detections of tracks that are not
    association: np.ndarray  # over matched detections: how well their track and object agree over the video, 0..1
    overlap: np.ndarray  # over matched detections: their IoU
    same_identity: float  # under the best one-to-one assignment of tracks to objects of each video
    objects: float
    tracks: float
    clear_found: float  # matched frame by frame, matches of the frame before first
    switches: float  # matched detections of an object whose last match was another track


class IdentityScores(NamedTuple):
    """Scores on 0..100, except IDSW, which counts. The keys of each dict are IDENTITY_METRICS."""

    combined: dict[str, float]  # over all detections, whatever their class
    class_average: dict[str, float]  # mean over all classes of the annotation file (IDSW: the sum), used or not
    per_category: dict[int, dict[str, float]]  # category ids ascending
    category_names: dict[int, str]


def evaluate_identity(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, threshold: float = 0.0
) -> IdentityScores:
    """Identity metrics of results in YouTube-VIS format. Raises Missing and Integrity as `read_scenes`.

    `threshold`: only tracks of this score and more, each with its best class only; at 0 every entry is a track.
    """
    return identity_scores(read_scenes(ground_truth, results), threshold=threshold)


def identity_scores(scenes: Scenes, *, threshold: float = 0.0) -> IdentityScores:
    """As `evaluate_identity`, of what has been read before."""
    found: dict[int, list[Counts]] = {category: [_nothing(0, 0)] for category in scenes.categories}
    for scene in scenes.videos:
        for category, counts in scene_counts(scene, threshold=threshold).items():
            found[category].append(counts)
    sums = {category: _add(several) for category, several in found.items()}
    per_category = {category: metrics(counts) for category, counts in sums.items()}
    rows = list(per_category.values())
    average = {name: float(np.mean([row[name] for row in rows])) if rows else 0.0 for name in IDENTITY_METRICS}
    average["IDSW"] = sum(row["IDSW"] for row in rows)
    return IdentityScores(metrics(_add([_nothing(0, 0), *sums.values()])), average, per_category, scenes.categories)


def scene_counts(scene: Scene, *, threshold: float = 0.0) -> dict[int, Counts]:
    """Counts of every class that one video has objects or tracks of."""
    entries: Sequence[Entry] = scene.entries
    if threshold > 0:
        entries = [entry for entry in best_classes(entries) if entry.score >= threshold]
        scene = scene._replace(tracks=[scene.tracks[entry.track] for entry in entries])
        entries = [entry._replace(track=row) for row, entry in enumerate(entries)]
    there = np.array([[m is not None for m in track] for track in scene.tracks], bool).reshape(-1, scene.video.frames)
    shown = np.array([[m is not None for m in t.masks] for t in scene.truths], bool).reshape(-1, scene.video.frames)
    ious = frame_overlaps(scene).ious()
    found = {}
    for category in sorted({*scene.categories.tolist(), *(entry.category for entry in entries)}):
        rows = [entry.track for entry in entries if entry.category == category and there[entry.track].any()]
        columns = np.flatnonzero((scene.categories == category) & shown.any(1))
        if rows and len(columns):
            found[category] = _count(ious[:, rows][:, :, columns].transpose(0, 2, 1), shown[columns], there[rows])
        else:
            found[category] = _nothing(int(shown[columns].sum()), int(there[rows].sum()))
    return found


def metrics(counts: Counts) -> dict[str, float]:
    """The IDENTITY_METRICS of some counts."""
    detection = counts.found / np.maximum(1, counts.found + counts.missed + counts.false)
    association = counts.association / np.maximum(1, counts.found)
    # Without any match, localisation is 1: nothing is badly placed.
    localisation = np.maximum(1e-10, counts.overlap) / np.maximum(1e-10, counts.found)
    false = counts.tracks - counts.clear_found
    return {
        "HOTA": 100 * float(np.sqrt(detection * association).mean()),
        "DetA": 100 * float(detection.mean()),
        "AssA": 100 * float(association.mean()),
        "LocA": 100 * float(localisation.mean()),
        "IDF1": 100 * counts.same_identity / max(1.0, 0.5 * (counts.objects + counts.tracks)),
        "MOTA": 100 * (counts.clear_found - false - counts.switches) / max(1.0, counts.objects),
        "IDSW": int(counts.switches),
    }


def _count(ious: np.ndarray, objects: np.ndarray, tracks: np.ndarray) -> Counts:
    """Counts of one class in one video: ious [F, G, D]; presence of objects [G, F] and of tracks [D, F], bool."""
    together = [
        (rows, columns, iou[rows[:, None], columns])
        for iou, rows, columns in zip(ious, map(np.flatnonzero, objects.T), map(np.flatnonzero, tracks.T), strict=True)
        if len(rows) and len(columns)
    ]
    shown, there = objects.sum(1).astype(np.float64), tracks.sum(1).astype(np.float64)
    found, association, overlap = _hota(together, shown, there)
    clear_found, switches = _clear(together, len(objects))
    total_shown, total_there = float(shown.sum()), float(there.sum())
    return Counts(
        found=found,
        missed=total_shown - found,
        false=total_there - found,
        association=association,
        overlap=overlap,
        same_identity=_same_identity(ious, shown, there),
        objects=total_shown,
        tracks=total_there,
        clear_found=clear_found,
        switches=switches,
    )


_Frames = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # objects [g], tracks [d] and IoU [g, d] of single frames


def _hota(frames: _Frames, shown: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matched detections and the sums of their association and IoU, [19] each."""
    # How well each track and object agree over the whole video, which decides between matches of single frames.
    agreement = np.zeros((len(shown), len(there)))
    for rows, columns, iou in frames:
        either = iou.sum(0)[None, :] + iou.sum(1)[:, None] - iou
        share = np.zeros_like(iou)
        np.divide(iou, either, out=share, where=either > _EPS)
        agreement[rows[:, None], columns] += share
    agreement = agreement / (shown[:, None] + there - agreement)

    matched = np.zeros((len(ALPHAS), *agreement.shape))
    overlap = np.zeros(len(ALPHAS))
    for rows, columns, iou in frames:
        i, j = linear_sum_assignment(-(agreement[rows[:, None], columns] * iou))
        close = iou[i, j] >= ALPHAS[:, None] - _EPS
        matched[:, rows[i], columns[j]] += close
        overlap += (close * iou[i, j]).sum(1)

    jaccard = matched / np.maximum(1, shown[:, None] + there - matched)
    return matched.sum((1, 2)), (matched * jaccard).sum((1, 2)), overlap


def _same_identity(ious: np.ndarray, shown: np.ndarray, there: np.ndarray) -> float:
    """Most detections that can overlap if every object has at most one track and every track one object (IDTP)."""
    both = (ious >= MIN_IOU).sum(0)
    i, j = linear_sum_assignment(-both)
    return float(both[i, j].sum())


def _clear(frames: _Frames, objects: int) -> tuple[float, float]:
    """Matched detections, and switches among them."""
    last = np.full(objects, -1)  # the track of each object's last match
    before = np.full(objects, -1)  # its track in the frame before this one
    found = switches = 0
    for rows, columns, iou in frames:
        value = 1000 * (columns == before[rows, None]) + iou
        value[iou < MIN_IOU - _EPS] = 0
        i, j = linear_sum_assignment(-value)
        real = value[i, j] > _EPS
        matched, tracks = rows[i[real]], columns[j[real]]
        switches += int(((last[matched] >= 0) & (last[matched] != tracks)).sum())
        found += len(matched)
        last[matched] = tracks
        before[:] = -1
        before[matched] = tracks
    return float(found), float(switches)


def _nothing(objects: int, tracks: int) -> Counts:
    """Counts where nothing can match."""
    zeros = np.zeros(len(ALPHAS))
    return Counts(zeros, zeros + objects, zeros + tracks, zeros, zeros, 0.0, float(objects), float(tracks), 0.0, 0.0)


def _add(several: Sequence[Counts]) -> Counts:
    return Counts(*(sum(values[1:], start=values[0]) for values in zip(*several, strict=True)))
