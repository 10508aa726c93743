"""Error analysis of tracks: kinds of errors, how often each occurs, and the AP if only that kind were corrected.

`docs/errors.md` defines the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idol_core.evaluation.error_kinds import TRACK_KINDS, Identity, Judged, judge_tracks
from idol_core.evaluation.ground_truth import GroundTruthSource
from idol_core.evaluation.held import Identities, identities
from idol_core.evaluation.matching import Matching, match_results
from idol_core.evaluation.mending import ErrorTable, error_table
from idol_core.evaluation.protocol import IOU_THRESHOLDS
from idol_core.evaluation.scenes import Scene, Scenes, frame_overlaps, read_scenes, video_ious

_WITH_TRACK = ("class", "duplicate", "background", "both")  # kinds shown in the frames of the track


class SceneMatches(NamedTuple):
    """Matched results and objects of one video, and which objects each track holds."""

    scene: Scene
    matching: Matching  # its results are rows of `scene.entries`, its objects those of `scene.truths`
    identities: Identities  # of `scene.tracks`


class TrackError(NamedTuple):
    """One error at an IoU threshold of .5: a wrong result or a lost object."""

    kind: str  # one of TRACK_KINDS
    video: int
    place: int | None  # index of the result in the results file, from 0; None: a lost object that no track holds
    category: int | None  # of the result
    score: float | None  # of the result
    truth: int | None  # row in `Scene.truths` of the object concerned; None: no object
    iou: float  # IoU of result and object over the video; 0 if one is missing
    frames: tuple[int, ...]  # frames that show the error, from 0


def evaluate_track_errors(ground_truth: GroundTruthSource, results: Iterable[Mapping[str, Any]] | Path) -> ErrorTable:
    """Analyse the errors of results in YouTube-VIS format. Raises Missing and Integrity as `read_scenes`."""
    return track_error_table(match_scenes(read_scenes(ground_truth, results)))


def match_scenes(scenes: Scenes) -> list[SceneMatches]:
    """Match results and objects of every video."""
    return [match_scene(scene) for scene in scenes.videos]


def match_scene(scene: Scene) -> SceneMatches:
    """Match results and objects of one video."""
    overlaps = frame_overlaps(scene)
    entries = scene.entries
    crowd = np.array([truth.crowd for truth in scene.truths], bool)
    ious = video_ious(overlaps)[[entry.track for entry in entries]]
    scores, categories = [entry.score for entry in entries], [entry.category for entry in entries]
    matching = match_results(scene.id, scores, categories, ious, scene.categories, crowd)
    return SceneMatches(scene, matching, identities(scene, overlaps))


def track_error_table(matches: Sequence[SceneMatches]) -> ErrorTable:
    """Compute count and corrected AP of every kind of error from `match_scenes`."""
    known = [_identity(one) for one in matches]
    judged = [
        [judge_tracks(one.matching, identity, threshold) for one, identity in zip(matches, known, strict=True)]
        for threshold in range(len(IOU_THRESHOLDS))
    ]
    return error_table(TRACK_KINDS, [one.matching for one in matches], judged)


def track_errors(matches: Sequence[SceneMatches]) -> list[TrackError]:
    """List every error at an IoU threshold of .5, by video: wrong results by descending score, then lost objects."""
    found: list[TrackError] = []
    for one in matches:
        judged = judge_tracks(one.matching, _identity(one), 0)
        order = np.argsort(-one.matching.scores, kind="stable")
        found += [_of_result(one, judged, int(row)) for row in order if judged.kinds[row] >= 0]
        found += [_of_object(one, judged, int(g)) for g in np.flatnonzero(judged.lost >= 0)]
    return found


def _identity(one: SceneMatches) -> Identity:
    """Select the rows of `Identities` for results instead of tracks."""
    rows = _tracks(one)
    frames = one.identities.held.sum(0)[rows]
    own: np.ndarray = np.equal.outer(one.matching.categories, one.matching.truth_categories)
    main = (frames > 0) & (frames == frames.max(1, initial=0)[:, None])
    known = ((frames > 0) & own).any(1)
    return Identity(one.identities.mended[rows], one.identities.kinds[rows], main, known)


def _tracks(one: SceneMatches) -> list[int]:
    """Row in `Scene.tracks` of each matched result."""
    return [one.scene.entries[row].track for row in one.matching.results]


def _of_result(one: SceneMatches, judged: Judged, row: int) -> TrackError:
    kind = TRACK_KINDS[judged.kinds[row]]
    target: int | None = int(judged.targets[row])
    ious = one.matching.ious[row]
    if target == -1:
        target = int(ious.argmax()) if kind in ("duplicate", "both") else None
    if kind == "duplicate":
        own = np.equal(one.matching.truth_categories, one.matching.categories[row]) & ~one.matching.crowd
        target = int(np.where(own, ious, -1).argmax())
    return _error(one, kind, row, target)


def _of_object(one: SceneMatches, judged: Judged, g: int) -> TrackError:
    source = int(judged.source[g])
    return _error(one, TRACK_KINDS[judged.lost[g]], None if source < 0 else source, g)


def _error(one: SceneMatches, kind: str, row: int | None, truth: int | None) -> TrackError:
    entry = None if row is None else one.scene.entries[one.matching.results[row]]
    iou = float(one.matching.ious[row, truth]) if row is not None and truth is not None else 0.0
    return TrackError(
        kind=kind,
        video=one.scene.id,
        place=entry.place if entry else None,
        category=entry.category if entry else None,
        score=entry.score if entry else None,
        truth=truth,
        iou=iou,
        frames=_frames(one, kind, entry.track if entry else None, truth),
    )


def _frames(one: SceneMatches, kind: str, track: int | None, truth: int | None) -> tuple[int, ...]:
    """Frames that show the error."""
    seen: np.ndarray
    nowhere = np.zeros(one.scene.video.frames, bool)
    there = nowhere if track is None else np.array([mask is not None for mask in one.scene.tracks[track]])
    shown = nowhere if truth is None else np.array([mask is not None for mask in one.scene.truths[truth].masks])
    if kind in _WITH_TRACK or truth is None:
        seen = there
    elif track is None:
        seen = shown
    else:
        held: np.ndarray = one.identities.held[:, track]
        elsewhere = np.logical_or.reduce(np.delete(held, truth, axis=1), axis=1)
        if kind in ("switch", "merge") and elsewhere.any():
            seen = elsewhere
        elif kind == "mask":
            seen = (there | shown) & ~held[:, truth]
        else:  # frames of the object that this track does not hold
            seen = shown & ~held[:, truth]
    return tuple(np.flatnonzero(seen).tolist())
