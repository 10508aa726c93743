"""Annotated objects and result tracks of each video, across classes, and their overlaps in every frame.

`overlaps.py` compares tracks of one class over whole videos, which suffices for AP; identity metrics and error analysis
also need single frames and other classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.track_iou import Track, frame_areas, frame_intersections
from idol_core.evaluation.ytvis_files import (
    GroundTruth,
    Truth,
    Video,
    read_ground_truth,
    read_results,
)


class Entry(NamedTuple):
    """One entry of a results file: a track with a class and a score."""

    place: int  # index in the file, from 0
    category: int
    score: float
    track: int  # its row in `Scene.tracks`


class Scene(NamedTuple):
    """One video: G annotated objects, U result tracks and the D results entries that refer to the tracks."""

    id: int
    video: Video
    categories: np.ndarray  # [G] int64, category ids of the objects
    truths: list[Truth]  # [G] in the order of the annotation file
    tracks: list[Track]  # [U] distinct tracks: entries with equal masks (one track under several classes) share one
    entries: list[Entry]  # [D] in the order of the results file


class FrameOverlaps(NamedTuple):
    """Pixel counts of tracks, objects and their intersections in each of the F frames of a video."""

    inter: np.ndarray  # [F, U, G] float64
    tracks: np.ndarray  # [U, F] float64
    truths: np.ndarray  # [G, F] float64

    def ious(self) -> np.ndarray:
        """IoU in every frame, [F, U, G] float64; 0 where one of the two is absent or empty."""
        union = self.tracks.T[:, :, None] + self.truths.T[:, None, :] - self.inter
        iou: np.ndarray = self.inter / np.maximum(union, 1)
        return iou


class Scenes(NamedTuple):
    """All videos of an annotation file, ids ascending."""

    categories: dict[int, str]  # id -> name, ids ascending
    videos: list[Scene]


def read_scenes(
    ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path, *, where: str = ""
) -> Scenes:
    """Read annotations and results by video; `where` names an index in errors.

    Raises Missing and Integrity as `read_ground_truth` and `read_results`.
    Equal masks are kept once, because a results file may list the same track under several classes.
    """
    truth = read_ground_truth(ground_truth, where=where)
    scenes = {number: _empty(number, truth) for number in truth.videos}
    known: dict[int, dict[tuple[bytes | None, ...], int]] = {number: {} for number in truth.videos}
    for place, result in enumerate(read_results(results, truth)):
        rows = known[result.video]
        row = rows.setdefault(tuple(result.masks), len(rows))
        scenes[result.video].entries.append(Entry(place, result.category, result.score, row))
    for number, rows in known.items():
        scenes[number].tracks.extend(rows)
    return Scenes(truth.categories, list(scenes.values()))


def frame_overlaps(scene: Scene) -> FrameOverlaps:
    """Compute the overlap of every track with every object in every frame."""
    objects = [truth.masks for truth in scene.truths]
    tracks, truths = _areas(scene.tracks, scene.video), _areas(objects, scene.video)
    height, width, _ = scene.video
    inter = frame_intersections(scene.tracks, objects, tracks, truths, height=height, width=width)
    return FrameOverlaps(inter, tracks, truths)


def video_ious(overlaps: FrameOverlaps) -> np.ndarray:
    """IoU of tracks and objects over the whole video, [U, G] float64, as used by video AP."""
    inter = overlaps.inter.sum(0)
    union = overlaps.tracks.sum(1)[:, None] + overlaps.truths.sum(1) - inter
    iou: np.ndarray = inter / np.maximum(union, 1)
    return iou


def best_classes(entries: Sequence[Entry]) -> list[Entry]:
    """Keep the best-scored entry of each track (ties: the first), in the given order."""
    best: dict[int, Entry] = {}
    for entry in entries:
        if entry.track not in best or entry.score > best[entry.track].score:
            best[entry.track] = entry
    return [entry for entry in entries if best[entry.track] is entry]


def _empty(number: int, truth: GroundTruth) -> Scene:
    found = [(category, one) for (video, category), some in truth.truths.items() if video == number for one in some]
    categories = np.array([category for category, _ in found], np.int64)
    return Scene(number, truth.videos[number], categories, [one for _, one in found], [], [])


def _areas(tracks: Sequence[Track], video: Video) -> np.ndarray:
    areas = [frame_areas(track, video.height, video.width) for track in tracks]
    return np.stack(areas) if areas else np.zeros((0, video.frames))
