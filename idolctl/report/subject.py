"""Whose results the page looks into: a run's, or a results file's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idol_core.config import DataSource
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.images import coco_truth
from idol_core.errors import InvalidInput, Missing
from idolctl.evaluation.evaluate import EvalRequest, EvalResult, evaluate
from idolctl.evaluation.scores import Figures, Scores, score_files
from idolctl.report.analyze import Analysis, analyze_images, analyze_tracks, clip_names


@dataclass(frozen=True)
class Subject:
    """Results, what they score, and the frames that they are about."""

    name: str
    data: str
    results: Path
    scores: Scores | None  # None without ground truth
    published: dict[str, Figures] = field(default_factory=dict)
    analysis: Analysis | None = None
    dataset: Dataset | None = None  # None: there are no frames to show
    truth: dict[str, Any] | None = None  # of images, a COCO document
    video: bool = True


def of_run(name: str, request: EvalRequest) -> Subject:
    """A run's newest results on the set it is scored on, or on `request.data` (inferred where need be).

    Raises Missing where no stage of it has weights yet, and otherwise as `evaluate`.
    """
    return of_result(evaluate(name, request))


def of_result(found: EvalResult) -> Subject:
    """What `evaluate` found, looked into."""
    dataset, analysis, truth = found.dataset, None, None
    if found.scores is not None and found.video:
        names = clip_names(dataset)
        analysis = analyze_tracks(found.annotations, found.results, names=names, stats=found.scores.stats)
    elif found.scores is not None:
        truth = coco_truth(dataset)
        analysis = _images(truth, found.results, found.scores, clip_names(dataset) if dataset.kind == "coco" else {})
    frames = dataset if found.video or dataset.kind == "coco" else None
    return Subject(
        found.name, found.data, found.results, found.scores, found.published, analysis, frames, truth, found.video
    )


def of_files(results: Path, annotations: Path, frames: Path | None) -> Subject:
    """Anybody's results in YouTube-VIS or COCO form. Raises as `score_files`, and Missing without the frames folder."""
    if frames is not None and not frames.is_dir():
        raise Missing("no such folder of frames", where=str(frames), fix="--frames DIR, or leave it out")
    kind = annotation_kind(annotations)
    scores = score_files(annotations, results)
    dataset = None
    if frames is not None:
        dataset = open_dataset(DataSource("", kind=kind, frames=str(frames), annotations=str(annotations)))
        _check_frames(dataset, frames)
    names = clip_names(dataset) if dataset else {}
    if kind == "coco":
        import json

        truth = json.loads(annotations.read_text(encoding="utf-8"))
        names = names or {image["id"]: str(image.get("file_name", image["id"])) for image in truth["images"]}
        analysis = _images(truth, results, scores, names)
        return Subject(results.name, annotations.name, results, scores, {}, analysis, dataset, truth, video=False)
    analysis = analyze_tracks(annotations, results, names=names, stats=scores.stats)
    return Subject(results.name, annotations.name, results, scores, {}, analysis, dataset)


def _images(truth: dict[str, Any], results: Path, scores: Scores, names: dict[int, str]) -> Analysis:
    categories = {int(c["id"]): str(c.get("name", c["id"])) for c in truth["categories"]}
    return analyze_images(truth, results, categories=categories, names=names, stats=scores.stats)


def _check_frames(dataset: Dataset, frames: Path) -> None:
    first = next((v for v in dataset.videos if v.length), None)
    if first is not None and not Path(first.file_names[0]).is_file():
        what = f"the frames of the annotations are not in there: {Path(first.file_names[0]).relative_to(frames)}"
        raise InvalidInput(what, where=str(frames), fix="--frames DIR: the folder that file_names are relative to")
