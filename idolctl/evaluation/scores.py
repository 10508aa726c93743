"""Results against ground truth, as figures on 0..100. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.dataset import Dataset
from idol_core.data.images import coco_truth
from idol_core.errors import InvalidInput
from idol_core.evaluation.coco_ap import evaluate_coco
from idol_core.evaluation.id_switches import identity_switches
from idol_core.evaluation.occlusion import occlusion_scores
from idol_core.evaluation.overlaps import compare
from idol_core.evaluation.video_ap import score as vis_scores

Figures = dict[str, float | None]  # 0..100; None where no ground truth defines one
Results = Path | list[dict[str, Any]]


@dataclass(frozen=True)
class VideoRow:
    """One video: its scores, how often an object changed its track, in how many of its frames it had one."""

    id: int
    AP: float | None
    AP50: float | None
    AR10: float | None
    switches: int
    covered: int
    visible: int


@dataclass(frozen=True)
class Scores:
    """All that is known of one set of results."""

    stats: Figures
    per_class: dict[str, Figures]
    occlusion: dict[str, Figures] = field(default_factory=dict)
    per_video: list[VideoRow] = field(default_factory=list)
    empty: bool = False  # there were no results to score

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, the main figures first."""
        rest: dict[str, Any] = {"occlusion": self.occlusion} if self.occlusion else {}
        rest |= {"per_video": [asdict(row) for row in self.per_video]} if self.per_video else {}
        return {**self.stats, "per_class": self.per_class, **rest}


def score_files(annotations: Path, results: Results, *, occlusion: bool = False, per_video: bool = False) -> Scores:
    """Score results in YouTube-VIS or COCO format, whichever the annotation file is in.

    Raises Missing and Integrity as `evaluate_vis`; InvalidInput where images are asked for what only videos have.
    """
    if annotation_kind(annotations) == "coco":
        if occlusion or per_video:
            raise InvalidInput("occlusion groups and single videos are scored of videos only", where=str(annotations),
                               fix="leave out --occlusion and --per-video")  # fmt: skip
        return score_images(annotations, results)
    comparison = compare(annotations, results)
    found = vis_scores(comparison)
    groups = occlusion_scores(comparison, where=str(annotations)) if occlusion else {}
    rows = []
    if per_video:
        held = identity_switches(annotations, results)
        for number in comparison.videos:
            own = _figures(vis_scores(comparison, videos=[number]).stats)
            rows.append(VideoRow(number, own["AP"], own["AP50"], own["AR10"], *held[number]))
    return Scores(
        _figures(found.stats),
        _per_class(found),
        {name: _figures(stats) for name, stats in groups.items()},
        rows,
        empty=not any(len(pair.scores) for pair in comparison.pairs.values()),
    )


def score_dataset(dataset: Dataset, results: Results, *, video: bool, **wanted: bool) -> Scores:
    """Score results of a data set; of a video set, `video` tells tracks from instances of its single frames."""
    if video or dataset.kind == "coco":
        return score_files(dataset.source, results, **wanted)
    return score_images(coco_truth(dataset), results)


def score_images(truth: Path | dict[str, Any], results: Results) -> Scores:
    """Mask AP of images."""
    found = evaluate_coco(truth, results)
    return Scores(_figures(found.stats), _per_class(found))


def mean_and_spread(rows: Sequence[Figures]) -> tuple[Figures, Figures]:
    """Mean and sample standard deviation of each figure that all rows have."""
    mean: Figures = {}
    spread: Figures = {}
    for name in rows[0]:
        values = [v for row in rows if (v := row.get(name)) is not None]
        whole = len(values) == len(rows)
        mean[name] = statistics.fmean(values) if whole else None
        spread[name] = statistics.stdev(values) if whole and len(values) > 1 else None
    return mean, spread


def _per_class(found: Any) -> dict[str, Figures]:
    return {found.category_names[number]: _figures(stats) for number, stats in found.per_category.items()}


def _figures(stats: dict[str, float]) -> Figures:
    return {name: None if value < 0 else 100 * value for name, value in stats.items()}
