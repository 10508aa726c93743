"""Analyze results against ground truth for the report page: classes, groups, errors, identities, every clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from idol_core.classes import labels
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.dataset import Dataset
from idol_core.evaluation.curves import Confusion, PRCurve, ScoredResults, confusion, pr_curves, scored_results
from idol_core.evaluation.groups import Group, by_length, by_number
from idol_core.evaluation.identity import metrics as identity_metrics
from idol_core.evaluation.identity import scene_counts
from idol_core.evaluation.image_errors import ImageError, ImageMatches, image_error_table, image_errors, match_images
from idol_core.evaluation.matching import Matching
from idol_core.evaluation.mending import ErrorTable
from idol_core.evaluation.occlusion import occlusion_scores
from idol_core.evaluation.overlaps import compare
from idol_core.evaluation.scenes import Scenes, best_classes, read_scenes
from idol_core.evaluation.track_errors import SceneMatches, TrackError, match_scenes, track_error_table, track_errors
from idolctl.evaluation.scores import Figures, Identity, identity_of

SHOWN_SCORES = (0.3, 0.1, 0.05)  # score threshold of shown tracks: the first that any track reaches


@dataclass(frozen=True)
class ClipFacts:
    """Scores and errors of one video or image."""

    id: int
    name: str
    frames: int
    objects: int
    AP: float | None  # 0..100, over the classes of its objects; None without objects
    HOTA: float | None  # of the shown tracks
    switches: int | None
    errors: dict[str, int] = field(default_factory=dict)  # errors by kind, of shown results and missed objects


@dataclass(frozen=True)
class Analysis:
    """Everything that the page shows about one set of results."""

    video: bool
    categories: dict[int, str]
    threshold: float  # lowest score of shown results
    errors: ErrorTable
    identities: list[Identity]  # of shown tracks and of all; empty for images
    groups: dict[str, list[tuple[str, int | None, Figures]]]  # heading -> (group, objects, figures)
    curves: list[PRCurve]
    confusion: Confusion  # of shown results
    scored: ScoredResults
    clips: list[ClipFacts]
    scenes: dict[int, SceneMatches] = field(default_factory=dict)  # by video id
    images: dict[int, ImageMatches] = field(default_factory=dict)  # by image id
    faults: Sequence[TrackError | ImageError] = ()


def analyze_tracks(
    index: AnnotationIndex, results: Path, *, where: str, names: Mapping[int, str], stats: Figures
) -> Analysis:
    """Analyze tracks of videos. `names`: clip names by id; `stats`: scores of the whole set (for AP by size)."""
    scenes = read_scenes(index, results, where=where)
    matches = match_scenes(scenes)
    faults = track_errors(matches)
    threshold = shown_from([entry.score for scene in scenes.videos for entry in scene.entries])
    comparison = compare(index, results, where=where)
    groups = {"size": _sizes(stats)}
    groups["frames in which the object is seen"] = [_group(g, "frame") for g in by_length(comparison)]
    if any(truth.occlusion for scene in scenes.videos for truth in scene.truths):
        found = occlusion_scores(comparison, where=where)
        groups["occlusion"] = [(name, None, _percent(figures)) for name, figures in found.items()]
    groups["objects in the video"] = [_group(g, "object") for g in by_number(comparison)]
    matchings = [one.matching for one in matches]
    return Analysis(
        video=True,
        categories=labels(scenes.categories),
        threshold=threshold,
        errors=track_error_table(matches),
        identities=[identity_of(scenes, t) for t in (threshold, 0.0)],
        groups={heading: rows for heading, rows in groups.items() if rows},
        curves=pr_curves(matchings, list(scenes.categories)),
        confusion=confusion(_best_only(matches), list(scenes.categories), min_score=threshold),
        scored=scored_results(matchings),
        clips=_clips(matches, faults, scenes, threshold, names),
        scenes={one.scene.id: one for one in matches},
        faults=faults,
    )


def analyze_images(
    index: AnnotationIndex, results: Path, *, where: str, names: Mapping[int, str], stats: Figures
) -> Analysis:
    """Analyze instances of images. Arguments as for `analyze_tracks`."""
    matches = match_images(index, results, where=where)
    categories = dict(zip(index.category_ids.tolist(), index.category_names, strict=True))
    faults = image_errors(matches)
    matchings = [one.matching for one in matches]
    threshold = shown_from([float(s) for one in matchings for s in one.scores])
    kinds = _kinds((one.image, one.kind) for one in faults if one.score is None or one.score >= threshold)
    clips = [
        ClipFacts(
            m.id, names.get(m.id, str(m.id)), 1, int((~m.crowd).sum()), clip_ap(m), None, None, kinds.get(m.id, {})
        )
        for m in matchings
    ]
    return Analysis(
        video=False,
        categories=labels(categories),
        threshold=threshold,
        errors=image_error_table(matches),
        identities=[],
        groups={"size": sizes} if (sizes := _sizes(stats)) else {},
        curves=pr_curves(matchings, list(categories)),
        confusion=confusion(matchings, list(categories), min_score=threshold),
        scored=scored_results(matchings),
        clips=clips,
        images={one.matching.id: one for one in matches},
        faults=faults,
    )


def clip_names(dataset: Dataset) -> dict[int, str]:
    """Name of each clip by id: the folder of its frames, or the file name of an image."""
    names = {}
    for row, video in enumerate(dataset.videos):
        first = Path(dataset.frame_name(row, 0)) if video.length else Path(str(video.id))
        names[video.id] = first.name if dataset.kind == "coco" else str(first.parent.name or video.id)
    return names


def shown_from(scores: Sequence[float]) -> float:
    """Score threshold of shown results: the first of SHOWN_SCORES that any of `scores` reaches."""
    best = max(scores, default=0.0)
    return next((t for t in SHOWN_SCORES if best >= t), SHOWN_SCORES[-1])


def clip_ap(matching: Matching) -> float | None:
    """AP (0..100) of one clip over the classes of its objects; None without objects."""
    curves = pr_curves([matching], sorted(set(matching.truth_categories.tolist())))
    values = [float(np.mean(list(curve.precision.values()))) for curve in curves]
    return 100 * float(np.mean(values)) if values else None


def _clips(
    matches: Sequence[SceneMatches],
    faults: Sequence[TrackError],
    scenes: Scenes,
    threshold: float,
    names: Mapping[int, str],
) -> list[ClipFacts]:
    best = {entry.place for scene in scenes.videos for entry in best_classes(scene.entries)}
    told = [f for f in faults if f.score is None or f.place is None or (f.score >= threshold and f.place in best)]
    kinds = _kinds((f.video, f.kind) for f in told)
    found = []
    for one in matches:
        counts = list(scene_counts(one.scene, threshold=threshold).values())
        total = type(counts[0])(*(sum(v[1:], start=v[0]) for v in zip(*counts, strict=True))) if counts else None
        figures = identity_metrics(total) if total else None
        scene, objects = one.scene, int((~one.matching.crowd).sum())
        found.append(
            ClipFacts(
                id=scene.id,
                name=names.get(scene.id, str(scene.id)),
                frames=scene.video.frames,
                objects=objects,
                AP=clip_ap(one.matching),
                HOTA=figures["HOTA"] if figures and objects else None,
                switches=int(figures["IDSW"]) if figures else 0,
                errors=kinds.get(scene.id, {}),
            )
        )
    return found


def _best_only(matches: Sequence[SceneMatches]) -> list[Matching]:
    """Matchings with each track under its best class only, so that the confusion matrix counts a track once."""
    found = []
    for one in matches:
        best = {entry.place for entry in best_classes(one.scene.entries)}
        kept = np.array([one.scene.entries[row].place in best for row in one.matching.results], bool)
        m = one.matching
        found.append(
            m._replace(
                results=m.results[kept],
                scores=m.scores[kept],
                categories=m.categories[kept],
                ious=m.ious[kept],
                taken=m.taken[:, kept],
                ignored=m.ignored[:, kept],
            )
        )
    return found


def _kinds(pairs: Any) -> dict[int, dict[str, int]]:
    found: dict[int, Counter[str]] = {}
    for number, kind in pairs:
        found.setdefault(number, Counter())[kind] += 1
    return {number: dict(counts) for number, counts in found.items()}


def _sizes(stats: Figures) -> list[tuple[str, int | None, Figures]]:
    names = {"s": "small", "m": "medium", "l": "large"}
    return [(name, None, {"AP": stats[f"AP{k}"]}) for k, name in names.items() if stats.get(f"AP{k}") is not None]


def _group(group: Group, unit: str) -> tuple[str, int | None, Figures]:
    span = str(group.low) if group.low == group.high else f"{group.low} to {group.high}"
    return f"{span} {unit}{'s' if group.high != 1 else ''}", group.objects, _percent(group.stats)


def _percent(stats: Mapping[str, float]) -> Figures:
    return {name: None if value < 0 else 100 * value for name, value in stats.items()}
