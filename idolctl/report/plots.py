"""All charts, by name, for the page and for `--plots DIR`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from idol_core.evaluation.curves import PRCurve, calibration, calibration_error
from idol_core.evaluation.protocol import RECALL_POINTS
from idol_core.system.files import write_aside
from idolctl.evaluation.scores import gain
from idolctl.report.charts import Line, bar_chart, confusion_matrix, histogram, line_chart, reliability, timeline
from idolctl.report.clips import view_video, worst_first
from idolctl.report.collect import RunFacts
from idolctl.report.history import curve_groups
from idolctl.report.subject import Subject
from idolctl.report.svg import standalone

BINS = 20
LEVELS = (50, 60, 70, 80, 90, 95)
TIMELINES = 12  # most timelines that are written, worst clips first


class Plot(NamedTuple):
    """A chart as SVG and the name of its file."""

    name: str
    svg: str


def write_plots(folder: Path, runs: Sequence[RunFacts], subjects: Sequence[Subject]) -> list[Path]:
    """Write each chart of the runs and of the first subject as an SVG file; return the paths."""
    shown = subjects[0] if subjects else None
    plots = [*error_plots(shown), *(plot for _, some in class_plots(shown) for plot in some), *_timelines(shown)]
    for _, _, main, inner in training_plots(runs, legend=True):
        plots += [*main, *inner]
    written: list[Path] = []
    for plot in plots:
        stem = re.sub(r"[^\w.-]+", "-", plot.name).strip("-.") or "chart"
        path = folder / f"{stem}.svg"
        while path in written:  # names that differ only in characters replaced in file names
            stem += "_"
            path = folder / f"{stem}.svg"
        with write_aside(path) as aside:
            aside.write_text(standalone(plot.svg), encoding="utf-8")
        written.append(path)
    return written


def error_plots(shown: Subject | None) -> list[Plot]:
    """Charts of the AP gained by fixing each kind of error, and of the number of errors."""
    if shown is None or shown.analysis is None:
        return []
    errors = shown.analysis.errors
    gains = [
        (k, gain(m.ap, errors.ap) or 0.0, f"{k}: {m.count} errors at IoU .5, AP {m.ap or 0:.1f} without them")
        for k, m in errors.kinds.items()
    ]
    gains50 = [
        (k, gain(m.ap50, errors.ap50) or 0.0, f"{k}: AP50 {m.ap50 or 0:.1f} without them")
        for k, m in errors.kinds.items()
    ]
    return [
        Plot("errors-ap", bar_chart("AP gained by mending one kind of error", gains)),
        Plot("errors-ap50", bar_chart("AP50 gained by mending one kind of error", gains50)),
    ]


def class_plots(shown: Subject | None) -> list[tuple[str, list[Plot]]]:
    """Charts of score reliability, class confusion and precision-recall curves, by heading."""
    if shown is None or shown.analysis is None:
        return []
    found = shown.analysis
    names = [found.categories[c] for c in found.confusion.categories]
    bins = calibration(found.scored)
    what = f"Right results by score (calibration error {100 * calibration_error(bins):.1f} %)"
    edges = np.linspace(0, 1, BINS + 1)
    right, wrong = (
        np.histogram(found.scored.scores[mask], edges)[0].tolist() for mask in (found.scored.right, ~found.scored.right)
    )
    worth = [
        Plot("calibration", reliability(what, bins)),
        Plot("scores", histogram("Scores of right and wrong results, IoU .5", right, wrong)),
    ]
    if not found.curves:
        return [("Correct and wrong by score", worth)]
    mean = [
        Line(f"IoU .{t}", _recall(), np.mean([c.precision[t] for c in found.curves], axis=0).tolist(), i)
        for i, t in enumerate(LEVELS)
    ]
    return [
        ("Correct and wrong by score", worth),
        (
            "Which classes are taken for which",
            [
                Plot(
                    "confusion",
                    confusion_matrix(
                        f"Objects (rows), results ≥ {found.threshold:g}",
                        names,
                        found.confusion.matrix.tolist(),
                    ),
                )
            ],
        ),
        (
            "Precision and recall",
            [
                Plot("precision-recall", line_chart("All classes", mean, y_range=(0, 1))),
                *(
                    Plot(
                        f"precision-recall-{found.categories[c.category]}",
                        _class_curve(found.categories[c.category], c),
                    )
                    for c in found.curves
                ),
            ],
        ),
    ]


def training_plots(
    runs: Sequence[RunFacts], *, legend: bool | None = None
) -> Iterator[tuple[int, list[str], list[Plot], list[Plot]]]:
    """Yield for each step: its number, the runs that have it, its charts, and charts of inner decoder layers."""
    for step in sorted({s.step for run in runs for s in run.steps}, reverse=True):
        found = [(run.name, s.history) for run in runs for s in run.steps if s.step == step and s.history.curves]
        main: list[Plot] = []
        inner: list[Plot] = []
        for title, lines, is_inner in curve_groups(found):
            wide = title.startswith("gradient")
            svg = line_chart(title, lines, log=wide, legend=len(runs) == 1 if legend is None else legend)
            (inner if is_inner else main).append(Plot(f"step{step}-{title}", svg))
        if main:
            yield step, [name for name, _ in found], main, inner


def _class_curve(name: str, curve: PRCurve) -> str:
    lines = [Line(f"IoU .{t}", _recall(), curve.precision[t].tolist(), i) for i, t in enumerate((50, 75, 90))]
    return line_chart(f"{name} ({curve.objects} objects)", lines, y_range=(0, 1))


def _recall() -> dict[str, list[float]]:
    return {"recall": RECALL_POINTS.tolist()}


def _timelines(shown: Subject | None) -> Iterator[Plot]:
    if shown is None or shown.analysis is None or not shown.video:
        return
    for clip in worst_first(shown.analysis.clips)[:TIMELINES]:
        lanes = view_video(shown.analysis, clip.id).lanes
        if lanes:
            yield Plot(f"clip-{clip.name}", timeline(f"clip {clip.name}", lanes, clip.frames))
