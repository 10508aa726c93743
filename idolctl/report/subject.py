"""Load and analyze the results that the page shows: those of a run or of a results file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from idol_core.config import DataSource
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.images import as_images
from idol_core.errors import InvalidInput, Missing
from idolctl.evaluation.evaluate import EvalRequest, EvalResult, evaluate
from idolctl.evaluation.scores import Figures, Scores, score_files
from idolctl.report.analyze import Analysis, analyze_images, analyze_tracks, clip_names


@dataclass(frozen=True)
class Subject:
    """A set of results with its scores, analysis and data set."""

    name: str
    data: str
    results: Path
    scores: Scores | None  # None without ground truth
    published: dict[str, Figures] = field(default_factory=dict)
    analysis: Analysis | None = None
    dataset: Dataset | None = None  # None: there are no frames to show
    truth: Dataset | None = None  # the annotations, even if there are no frames
    video: bool = True


def of_run(name: str, request: EvalRequest) -> Subject:
    """A run's newest results on its validation set, or on `request.data`; infers them if they are not there.

    Raises Missing if no stage of the run has weights yet, and otherwise as `evaluate`.
    """
    return of_result(evaluate(name, request))


def of_result(found: EvalResult) -> Subject:
    """Analyze a result of `evaluate`."""
    dataset = found.dataset if found.video else as_images(found.dataset)
    analysis = None
    if found.scores is not None:
        analysis = _analyze(dataset, found.results, found.scores, where=str(found.annotations), video=found.video)
    return Subject(
        found.name, found.data, found.results, found.scores, found.published, analysis, dataset, dataset, found.video
    )


def of_files(results: Path, annotations: Path, frames: Path | None) -> Subject:
    """Score and analyze a results file in YouTube-VIS or COCO format, without a run.

    Raises as `score_files`; Missing if the frames folder does not exist, InvalidInput if the first frame is not in it.
    """
    if frames is not None and not frames.is_dir():
        raise Missing("frames folder not found", where=str(frames), fix="--frames DIR, or leave it out")
    kind = annotation_kind(annotations)
    scores = score_files(annotations, results)
    dataset = open_dataset(DataSource("", kind=kind, frames=str(frames or "."), annotations=str(annotations)))
    if frames is not None:
        _check_frames(dataset, frames)
    video = kind == "vis"
    analysis = _analyze(dataset, results, scores, where=str(annotations), video=video)
    shown = dataset if frames is not None else None
    return Subject(results.name, annotations.name, results, scores, {}, analysis, shown, dataset, video)


def _analyze(dataset: Dataset, results: Path, scores: Scores, *, where: str, video: bool) -> Analysis:
    analyze = analyze_tracks if video else analyze_images
    return analyze(dataset.index, results, where=where, names=clip_names(dataset), stats=scores.stats)


def _check_frames(dataset: Dataset, frames: Path) -> None:
    first = next((v for v in dataset.videos if v.length), None)
    if first is not None and not Path(first.file_names[0]).is_file():
        what = f"the folder lacks the first frame of the annotations: {Path(first.file_names[0]).relative_to(frames)}"
        raise InvalidInput(what, where=str(frames), fix="--frames DIR: the folder that file_names are relative to")
