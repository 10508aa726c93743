"""Run one evaluation: resolve weights and data, infer, score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from idol_core.classes import check_same_classes
from idol_core.config import DataSource, Precision, StageConfig
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.set_digest import results_fit
from idol_core.errors import InvalidInput, Missing
from idol_core.evaluation import METRICS
from idol_core.system.files import write_json
from idolctl.config.variants import Variant, variants
from idolctl.datasets.old_splits import warn_of_old_split
from idolctl.datasets.root import data_root, find_data, is_toy, make_toy_data
from idolctl.evaluation import infer
from idolctl.evaluation.scores import NOTHING_MORE, Extras, Figures, Scores, mean_and_spread, score_dataset
from idolctl.evaluation.targets import Target, find_target, published_scores
from idolctl.runs.state import read_stage
from idolctl.submission.servers import local_truth
from idolctl.terminal.progress import say, transfer


@dataclass(frozen=True)
class EvalRequest:
    """The options of `idolctl eval`."""

    data: str | None
    runs: Path
    root: Path | None
    settings: tuple[str, ...]
    device: str | None
    extras: Extras = NOTHING_MORE
    classes_map: tuple[str, ...] = ()  # "person=human": class name in the weights = in the data set
    precision: Precision | None = None  # None: the precision in the stage's settings (evaluation_precision)


@dataclass(frozen=True)
class EvalResult:
    """Result of one target on one data set; `scores` is None if the set has no ground truth."""

    name: str
    data: str
    annotations: Path
    results: Path
    scores: Scores | None
    dataset: Dataset
    video: bool  # True: results are tracks of videos; False: instances of images
    published: dict[str, Figures] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # class names of the data set

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-serialisable data, main metrics first (null without ground truth)."""
        scores = self.scores.as_dict() if self.scores else dict.fromkeys(METRICS)
        names = {"name": self.name, "data": self.data, "results": str(self.results)}
        return {**scores, **names, "published": self.published}


@dataclass(frozen=True)
class Sweep:
    """Metrics of each combination of settings; `best` is the index of the one with the highest AP."""

    data: str
    settings: list[dict[str, str]]
    figures: list[Figures]
    best: int


@dataclass(frozen=True)
class OracleRows:
    """Metrics of normal tracking and of the clip and frame oracles, under "normal", "clip" and "frame"."""

    data: str
    rows: dict[str, Figures]


@dataclass(frozen=True)
class _Subject:
    target: Target
    source: DataSource
    dataset: Dataset
    variants: list[Variant]
    video: bool  # True: tracks of videos; False: instances of images
    precision: Precision

    @property
    def data(self) -> str:
        return self.source.name or str(self.dataset.source)

    @property
    def config(self) -> StageConfig:
        return self.variants[0].config


def evaluate(name: str, asked: EvalRequest) -> EvalResult:
    """Infer, unless the run has already written these very results, and score. Results stay on disk."""
    subject = _subject(name, asked)
    if len(subject.variants) > 1:
        raise InvalidInput("several values of a setting need a single target", where="--set", fix=f"name only {name}")
    results = _own_results(subject, asked)
    if results is None:
        folder = infer.results_folder(subject.target, subject.data)
        results = folder / "results.json"
        subject = _by_name(subject, asked)
        if subject.video:
            (found,) = infer.track(subject.target, subject.dataset, [subject.config], asked.device, subject.precision)
        else:
            found = infer.images(subject.target, subject.dataset, subject.config, asked.device, subject.precision)
        write_json(results, found, indent=None)
    scores = None
    if subject.dataset.has_ground_truth:
        scores = score_dataset(subject.dataset, results, asked.extras, video=subject.video)
    published: dict[str, Figures] = {k: dict(v) for k, v in published_scores(subject.target, subject.data).items()}
    dataset = subject.dataset
    classes = tuple(dataset.category_names)
    done = EvalResult(name, subject.data, dataset.source, results, scores, dataset, subject.video, published, classes)
    if results.parent != subject.target.stage:
        settings = {"settings": subject.variants[0].settings}
        write_json(results.with_name("evaluation.json"), done.as_dict() | settings)
    return done


def evaluate_sweep(name: str, asked: EvalRequest) -> Sweep | None:
    """Metrics of every combination of settings with several values (KEY=A,B); None if no setting has several."""
    if not any("," in text for text in asked.settings):
        return None
    subject = _subject(name, asked)
    _need_truth(subject, "a table of settings")
    subject = _by_name(subject, asked)
    configs = [variant.config for variant in subject.variants]
    figures = [
        score_dataset(subject.dataset, results, video=True).stats
        for results in infer.track(subject.target, subject.dataset, configs, asked.device, subject.precision)
    ]
    best = max(range(len(figures)), key=lambda i: figures[i]["AP"] or 0.0)
    return Sweep(subject.data, [variant.settings for variant in subject.variants], figures, best)


def evaluate_oracle(name: str, asked: EvalRequest, *, clip_length: int) -> OracleRows:
    """Score normal tracking and both oracles (paper section 3) on the same detections."""
    subject = _subject(name, asked)
    if len(subject.variants) > 1:
        raise InvalidInput("--oracle needs a single value of each setting", where="--set", fix="give one value")
    _need_truth(subject, "an oracle")
    subject = _by_name(subject, asked)
    found = infer.oracles(
        subject.target, subject.dataset, subject.config, asked.device, subject.precision, clip_length=clip_length
    )
    rows = {key: score_dataset(subject.dataset, results, video=True).stats for key, results in found.items()}
    return OracleRows(subject.data, rows)


def mean_of(found: Sequence[EvalResult]) -> tuple[Figures, Figures]:
    """Mean and standard deviation of each metric over several targets.

    Raises InvalidInput if they were scored on different data or classes.
    """
    data = {one.data for one in found}
    if len(data) > 1:
        what = f"the runs are scored on different data: {', '.join(sorted(data))}"
        raise InvalidInput(what, where="--data", fix=f"--data {sorted(data)[0]}")
    for one in found[1:]:
        sides = (f"the data of {found[0].name}", f"the data of {one.name}")
        check_same_classes(found[0].classes, one.classes, sides=sides, where=str(one.annotations))
    return mean_and_spread([one.scores.stats for one in found if one.scores])


def _subject(name: str, asked: EvalRequest) -> _Subject:
    target = find_target(name, asked.runs, data=asked.data)
    root = asked.root or target.root or data_root(None)
    source = find_data(asked.data, root) if asked.data else target.config.data.val
    if is_toy(source):
        make_toy_data(root)
    warn_of_old_split(source.name, root)
    with transfer(f"reading annotations of {source.name or name}") as reading:
        dataset = open_dataset(resolve_source(source, root), on_read=reading.update)
    step = target.config.step
    video = dataset.kind == "vis" and (step == 3 or (step == 2 and asked.data is not None))
    own = target.config.solver.evaluation_precision
    return _Subject(target, source, dataset, variants(target.config, asked.settings), video, asked.precision or own)


def _own_results(subject: _Subject, asked: EvalRequest) -> Path | None:
    """The results file that the run itself wrote, if it has the requested data, settings and precision; else None."""
    stage = subject.target.stage
    if stage is None or asked.settings or subject.source != subject.target.config.data.val:
        return None
    if subject.precision != subject.target.config.solver.evaluation_precision:
        return None
    path, same_root = stage / "results.json", asked.root in (None, subject.target.root)
    if not (read_stage(stage).done and same_root and path.is_file()):
        return None
    if results_fit(stage, subject.dataset.index):
        return path
    say(f"the videos or classes of {subject.data} changed since {path} was written: running inference again")
    return None


def _by_name(subject: _Subject, asked: EvalRequest) -> _Subject:
    """The subject with the data set's classes reordered to match the weights."""
    return replace(subject, dataset=infer.in_order_of(subject.target, subject.dataset, asked.classes_map))


def _need_truth(subject: _Subject, what: str) -> None:
    if not subject.video:
        raise InvalidInput(f"{what} needs videos; {subject.data} is scored as images", where="--data",
                           fix="name a video set and weights of step 2 or 3")  # fmt: skip
    if not subject.dataset.has_ground_truth:
        truth = local_truth(subject.data.removesuffix("_val"), subject.dataset.source)
        fix = "--data SET@SPLIT with ground truth, such as ovis@oracle" + (f"; or {truth.told}" if truth else "")
        raise Missing(f"{subject.data} has no ground truth", where=str(subject.dataset.source), fix=fix)
