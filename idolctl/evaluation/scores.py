"""Score results against ground truth; metrics are in 0..100. Doesn't import torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from idol_core.classes import labels
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.dataset import Dataset, open_labels
from idol_core.data.images import as_images
from idol_core.errors import InvalidInput
from idol_core.evaluation.coco_ap import evaluate_coco
from idol_core.evaluation.id_switches import identity_switches
from idol_core.evaluation.image_errors import evaluate_image_errors
from idol_core.evaluation.mending import ErrorTable, Mended
from idol_core.evaluation.occlusion import occlusion_scores
from idol_core.evaluation.overlaps import compare
from idol_core.evaluation.scenes import Scenes, read_scenes
from idol_core.evaluation.track_errors import match_scenes, track_error_table
from idol_core.evaluation.video_ap import score as vis_scores
from idolctl.terminal.progress import transfer

Figures = dict[str, float | None]  # metric -> 0..100; None if no ground truth defines it
Results = Path | list[dict[str, Any]]
ERRORS_OVERLAP = (
    "Kinds of errors overlap: mending one changes what the others cost, so the gains don't add up to what is missing."
)


@dataclass(frozen=True)
class VideoRow:
    """One video: scores, identity switches, object frames (`visible`) and those with a track (`covered`)."""

    id: int
    AP: float | None
    AP50: float | None
    AR10: float | None
    switches: int
    covered: int
    visible: int


@dataclass(frozen=True)
class Extras:
    """What to compute besides AP."""

    occlusion: bool = False  # AP of OVIS's occlusion groups
    per_video: bool = False  # AP and identity switches of every video
    errors: bool = False  # AP lost to each kind of error
    identity: bool = False  # HOTA, IDF1, MOTA
    threshold: float = 0.0  # identity metrics use tracks with at least this score; 0: all


NOTHING_MORE = Extras()


@dataclass(frozen=True)
class Identity:
    """Identity metrics (IDENTITY_METRICS) of tracks with a score of at least `threshold`."""

    threshold: float
    combined: dict[str, float]  # over all detections, whatever their class
    class_average: dict[str, float]
    per_class: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """The metrics as JSON-serialisable data, the combined ones first."""
        rest = {"class_average": self.class_average, "per_class": self.per_class}
        return {**self.combined, "threshold": self.threshold, **rest}


@dataclass(frozen=True)
class Scores:
    """All scores of one set of results."""

    stats: Figures
    per_class: dict[str, Figures]
    occlusion: dict[str, Figures] = field(default_factory=dict)
    per_video: list[VideoRow] = field(default_factory=list)
    errors: ErrorTable | None = None
    identity: Identity | None = None
    notes: tuple[str, ...] = ()  # what lowers the scores, such as videos without results

    def as_dict(self) -> dict[str, Any]:
        """The scores as JSON-serialisable data, the main metrics first."""
        rest: dict[str, Any] = {"occlusion": self.occlusion} if self.occlusion else {}
        rest |= {"per_video": [asdict(row) for row in self.per_video]} if self.per_video else {}
        rest |= {"errors": errors_as_dict(self.errors)} if self.errors else {}
        rest |= {"identity": self.identity.as_dict()} if self.identity else {}
        rest |= {"warnings": list(self.notes)} if self.notes else {}
        return {**self.stats, "per_class": self.per_class, **rest}


def score_files(annotations: Path, results: Results, extras: Extras = NOTHING_MORE) -> Scores:
    """Score results in YouTube-VIS or COCO format, whichever the annotation file is in.

    Raises Missing and Integrity as `evaluate_vis`; InvalidInput for extras that only videos have, on images.
    """
    kind = annotation_kind(annotations)
    if kind == "coco":
        _refuse_of_images(extras, str(annotations))
    with transfer(f"reading {annotations.name}") as reading:
        index, truth = open_labels(annotations, kind, on_read=reading.update)
    score = score_images if kind == "coco" else score_videos
    return score(index, results, extras, where=str(truth))


def score_dataset(dataset: Dataset, results: Results, extras: Extras = NOTHING_MORE, *, video: bool) -> Scores:
    """Score results on a data set. `video` False: the results are instances of images, or of a video set's frames."""
    where = str(dataset.source)
    if video:
        return score_videos(dataset.index, results, extras, where=where)
    return score_images(as_images(dataset).index, results, extras, where=where)


def score_videos(index: AnnotationIndex, results: Results, extras: Extras, *, where: str) -> Scores:
    """Compute video AP and the extras. `where` names the annotations in errors."""
    comparison = compare(index, results, where=where)
    found = vis_scores(comparison)
    groups = occlusion_scores(comparison, where=where) if extras.occlusion else {}
    rows = []
    if extras.per_video:
        held = identity_switches(index, results)
        for number in comparison.videos:
            own = _figures(vis_scores(comparison, videos=[number]).stats)
            rows.append(VideoRow(number, own["AP"], own["AP50"], own["AR10"], *held[number]))
    return Scores(
        _figures(found.stats),
        _per_class(found),
        {name: _figures(stats) for name, stats in groups.items()},
        rows,
        *_errors_and_identity(index, results, extras, where=where),
        notes=comparison.notes,
    )


def score_images(index: AnnotationIndex, results: Results, extras: Extras, *, where: str) -> Scores:
    """Compute mask AP of images. Raises InvalidInput for extras that only videos have."""
    _refuse_of_images(extras, where)
    found = evaluate_coco(index, results, where=where)
    errors = evaluate_image_errors(index, results, where=where) if extras.errors else None
    return Scores(_figures(found.stats), _per_class(found), errors=errors, notes=found.notes)


def _refuse_of_images(extras: Extras, where: str) -> None:
    if extras.occlusion or extras.per_video or extras.identity:
        raise InvalidInput("occlusion groups, single videos and identities are scored of videos only", where=where,
                           fix="leave out --occlusion, --per-video and --identity")  # fmt: skip


def mean_and_spread(rows: Sequence[Figures]) -> tuple[Figures, Figures]:
    """Mean and sample standard deviation of each metric that all rows have."""
    mean: Figures = {}
    spread: Figures = {}
    for name in rows[0]:
        values = [v for row in rows if (v := row.get(name)) is not None]
        whole = len(values) == len(rows)
        mean[name] = statistics.fmean(values) if whole else None
        spread[name] = statistics.stdev(values) if whole and len(values) > 1 else None
    return mean, spread


def errors_as_dict(errors: ErrorTable) -> dict[str, Any]:
    """The table as JSON-serialisable data: AP, and per kind of error its count, the AP with it fixed and the gain."""

    def mended(kind: Mended) -> dict[str, Any]:
        gains = {"dAP": gain(kind.ap, errors.ap), "dAP50": gain(kind.ap50, errors.ap50)}
        return {"count": kind.count, "AP": kind.ap, "AP50": kind.ap50, **gains}

    kinds = {name: mended(kind) for name, kind in errors.kinds.items()}
    return {"AP": errors.ap, "AP50": errors.ap50, "kinds": kinds, "all": mended(errors.all), "note": ERRORS_OVERLAP}


def gain(after: float | None, before: float | None) -> float | None:
    """`after` - `before`; None if either is None."""
    return None if after is None or before is None else after - before


def _errors_and_identity(
    index: AnnotationIndex, results: Results, extras: Extras, *, where: str
) -> tuple[ErrorTable | None, Identity | None]:
    """Error table and identity metrics of tracks; None for what `extras` does not request."""
    if not (extras.errors or extras.identity):
        return None, None
    scenes = read_scenes(index, results, where=where)
    errors = track_error_table(match_scenes(scenes)) if extras.errors else None
    if not extras.identity:
        return errors, None
    return errors, identity_of(scenes, extras.threshold)


def identity_of(scenes: Scenes, threshold: float) -> Identity:
    """Compute the identity metrics of tracks with a score of at least `threshold`."""
    from idol_core.evaluation.identity import identity_scores  # scipy

    found = identity_scores(scenes, threshold=threshold)
    shown = labels(found.category_names)
    per_class = {shown[number]: dict(figures) for number, figures in found.per_category.items()}
    return Identity(threshold, found.combined, found.class_average, per_class)


def _per_class(found: Any) -> dict[str, Figures]:
    shown = labels(found.category_names)
    return {shown[number]: _figures(stats) for number, stats in found.per_category.items()}


def _figures(stats: dict[str, float]) -> Figures:
    return {name: None if value < 0 else 100 * value for name, value in stats.items()}
