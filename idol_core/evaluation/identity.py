"""Identity metrics of tracks with masks: HOTA, IDF1 and MOTA, as computed by the package TrackEval.

HOTA and its parts DetA, AssA and LocA: Luiten et al. 2021; IDF1: Ristani et al. 2016; MOTA and IDSW: Bernardin and
Stiefelhagen 2008. Tracks are compared with objects of the same class only; crowds count as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from idol_core.evaluation import IDENTITY_METRICS
from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.scenes import Entry, Scene, Scenes, best_classes, frame_overlaps, read_scenes

ALPHAS = np.arange(0.05, 0.99, 0.05)  # 19 IoU thresholds for HOTA and its parts
MIN_IOU = 0.5  # IoU threshold for IDF1, MOTA and IDSW

_EPS = np.finfo(np.float64).eps


class Counts(NamedTuple):
    """Counts that the metrics are computed from; those of several videos or classes can be summed.

    The first six are [19] float64, one for each of ALPHAS; the others are numbers of detections at MIN_IOU.
    """

    found: np.ndarray  # matched detections of objects (true positives)
    missed: np.ndarray  # unmatched detections of objects (false negatives)
    false: np.ndarray  # unmatched detections of tracks (false positives)
    association: np.ndarray  # sum over matched detections: association of track and object over the video, 0..1
    overlap: np.ndarray  # sum over matched detections: IoU
    same_identity: float  # matched under the best one-to-one assignment of tracks to objects per video (IDTP)
    objects: float
    tracks: float
    clear_found: float  # matched frame by frame; matches of the previous frame have priority
    switches: float  # matched detections of an object whose last match was another track


class IdentityScores(NamedTuple):
    """Scores on 0..100, except IDSW, a count. The keys of each dict are IDENTITY_METRICS."""

    combined: dict[str, float]  # over all detections of all classes
    class_average: dict[str, float]  # mean over all classes of the annotation file (IDSW: the sum), used or not
    per_category: dict[int, dict[str, float]]  # category ids ascending
    category_names: dict[int, str]


def evaluate_identity(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, threshold: float = 0.0
) -> IdentityScores:
    """Compute identity metrics of results in YouTube-VIS format. Raises Missing and Integrity as `read_scenes`.

    `threshold`: use only tracks with at least this score, each with its best class; at 0 every entry is a track.
    """
    return identity_scores(read_scenes(ground_truth, results), threshold=threshold)


def identity_scores(scenes: Scenes, *, threshold: float = 0.0) -> IdentityScores:
    """Compute identity metrics of scenes already read; see `evaluate_identity`."""
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
    """Counts of one video, for every class with objects or tracks in it."""
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
    """Compute IDENTITY_METRICS from counts."""
    detection = counts.found / np.maximum(1, counts.found + counts.missed + counts.false)
    association = counts.association / np.maximum(1, counts.found)
    # Without any match, localisation is 1 by definition.
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
    """Largest number of matched detections under a one-to-one assignment of tracks to objects (IDTP)."""
    both = (ious >= MIN_IOU).sum(0)
    i, j = linear_sum_assignment(-both)
    return float(both[i, j].sum())


def _clear(frames: _Frames, objects: int) -> tuple[float, float]:
    """Matched detections, and switches among them."""
    last = np.full(objects, -1)  # the track of each object's last match
    before = np.full(objects, -1)  # the track of each object in the previous frame
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
