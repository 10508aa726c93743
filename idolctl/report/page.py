"""Build the HTML page: its contents and their order. The template escapes all text that comes from files."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from idol_core.evaluation import IDENTITY_METRICS, METRICS
from idol_core.system.files import write_aside
from idolctl.evaluation.scores import ERRORS_OVERLAP, Figures, gain, mean_and_spread
from idolctl.report import words
from idolctl.report.cards import Card, clips_without_truth
from idolctl.report.clips import worst_first
from idolctl.report.collect import RunFacts
from idolctl.report.plots import Plot, class_plots, error_plots, training_plots
from idolctl.report.subject import Subject
from idolctl.terminal.progress import clock


@dataclass(frozen=True)
class Table:
    """A table; numbers are right-aligned and sortable."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    sortable: bool = False


def write_page(
    path: Path, runs: Sequence[RunFacts], subjects: Sequence[Subject], cards: Sequence[Card], notes: Sequence[str] = ()
) -> None:
    """Write the page about runs, or about results without a run, as one self-contained HTML file."""
    html = render(runs, subjects, cards, notes)
    with write_aside(path) as aside:
        aside.write_text(html, encoding="utf-8")


def render(
    runs: Sequence[RunFacts], subjects: Sequence[Subject], cards: Sequence[Card], notes: Sequence[str] = ()
) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=PackageLoader("idolctl.report", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("idolctl.report") / "templates"
    script = (folder / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = [run.name for run in runs] or [subject.name for subject in subjects]
    shown = subjects[0] if subjects else None
    return environment.get_template("report.html.j2").render(
        title=", ".join(names),
        script=Markup(script),
        script_hash=digest,
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        made=time.strftime("%Y-%m-%d %H:%M"),
        notes=notes,
        several=len(names) > 1,
        verdict=verdict(runs, subjects),
        tiles=_tiles(shown) if len(subjects) == 1 else [],
        scores=score_tables(runs, subjects),
        shown=shown,
        errors=error_tables(subjects),
        error_plots=_marked(error_plots(shown)),
        errors_overlap=ERRORS_OVERLAP,
        kinds=words.TRACKS if shown and shown.video else words.IMAGES,
        identity=identity_tables(subjects),
        classes=_classes(shown),
        class_plots=[(heading, _marked(plots)) for heading, plots in class_plots(shown)],
        groups=group_tables(subjects),
        clips=_clips(shown, subjects),
        clip_names={clip.id: clip for clip in _clip_facts(shown)},
        cards=[(card, Markup(card.timeline)) for card in cards],
        training=[(step, names_, _marked(main), _marked(inner)) for step, names_, main, inner in training_plots(runs)],
        runs=runs,
        differences=_differences(runs),
        clock=clock,
    )


def verdict(runs: Sequence[RunFacts], subjects: Sequence[Subject]) -> list[str]:
    """Summary of the page in a few sentences."""
    scored = [s for s in subjects if s.scores is not None]
    if not scored:
        what = "no step is finished yet, so there are curves only" if runs and not subjects else "no ground truth here"
        return [f"Not scored: {what}."]
    if len({s.data for s in scored}) > 1:
        return [f"{s.name}: AP {_one(s.scores.stats.get('AP') if s.scores else None)} on {s.data}." for s in scored]
    if len(scored) > 1:
        best = max(scored, key=lambda s: (s.scores and s.scores.stats.get("AP")) or 0.0)
        mean, spread = mean_and_spread([s.scores.stats for s in scored if s.scores])
        deviation = f" ± {spread['AP']:.1f}" if spread.get("AP") is not None else ""
        told = [f"AP {mean['AP']:.1f}{deviation} over {len(scored)} on {scored[0].data}; best: {best.name}."]
        return told if mean.get("AP") is not None else []
    (one,) = scored
    ap = one.scores.stats.get("AP") if one.scores else None
    told = [f"AP {_one(ap)} on {one.data}, {'tracks in videos' if one.video else 'masks in images'}."]
    for name, figures in one.published.items():
        told.append(f"Published ({name}): {_one(figures.get('AP'))}.")
    if not one.published:
        told.append("No published score is comparable.")
    if one.analysis and (costly := _costliest(one)):
        told.append(costly)
    return told


def score_tables(runs: Sequence[RunFacts], subjects: Sequence[Subject]) -> list[tuple[str, Table]]:
    """Scores of every step of every run, then those of the results shown, with published ones for comparison."""
    tables = []
    rows = [
        (
            *((run.name,) if len(runs) > 1 else ()),
            step.step,
            step.scored_on,
            *_cells(step.metrics or {}, METRICS),
            clock(step.seconds),
            step.status,
        )
        for run in runs
        for step in run.steps
    ]
    if rows:
        heads = (*(("run",) if len(runs) > 1 else ()), "step", "scored on", *METRICS, "time", "status")
        tables.append(("Steps", Table(heads, rows)))
    keys = (*METRICS, "APs", "APm", "APl")
    scored = [(s.name, s.scores.stats) for s in subjects if s.scores]
    if scored:
        lines: list[tuple[str, Mapping[str, float | None]]] = [*scored]
        if len(scored) > 1 and len({s.data for s in subjects}) == 1:
            mean, spread = mean_and_spread([stats for _, stats in scored])
            lines += [("mean", mean), ("standard deviation", spread)]
        lines += {f"{k} (published)": v for s in subjects for k, v in s.published.items()}.items()
        data = ", ".join(dict.fromkeys(s.data for s in subjects))
        tables.append((f"On {data}", Table(("", *keys), [(n, *_cells(f, keys)) for n, f in lines])))
    return tables


def error_tables(subjects: Sequence[Subject]) -> list[tuple[str, Table]]:
    """Count and AP gain (if fixed) of each kind of error; for several results, only the gains, side by side."""
    found = [(s.name, s.analysis.errors) for s in subjects if s.analysis]
    if len(found) > 1 and len({tuple(e.kinds) for _, e in found}) == 1:
        rows = [(kind, *(gain(e.kinds[kind].ap, e.ap) for _, e in found)) for kind in found[0][1].kinds]
        return [("AP gained by mending", Table(("kind", *(name for name, _ in found)), rows))]
    tables = []
    for name, errors in found[:1]:
        rows = [
            (kind, m.count, m.ap, gain(m.ap, errors.ap), m.ap50, gain(m.ap50, errors.ap50))
            for kind, m in (*errors.kinds.items(), ("all", errors.all))
        ]
        tables.append((name, Table(("kind", "count", "AP mended", "gain", "AP50 mended", "gain"), rows)))
    return tables


def identity_tables(subjects: Sequence[Subject]) -> list[tuple[str, Table]]:
    """Identity metrics of shown tracks and of all tracks; also per class if there is only one set of results."""
    found = [(s.name, one) for s in subjects if s.analysis for one in s.analysis.identities]
    if not found:
        return []
    rows = [(name, _tracks_of(one.threshold), *_cells(one.combined, IDENTITY_METRICS)) for name, one in found]
    if len(subjects) > 1:
        shown = [dict(s.analysis.identities[0].combined) for s in subjects if s.analysis and s.analysis.identities]
        mean, spread = mean_and_spread([{**figures} for figures in shown])
        rows += [
            (n, "shown ones", *_cells(f, IDENTITY_METRICS)) for n, f in (("mean", mean), ("standard deviation", spread))
        ]
    tables = [("All classes together", Table(("", "tracks", *IDENTITY_METRICS), rows))]
    if len(subjects) == 1:
        one = found[0][1]
        per = [
            (n, *_cells(f, IDENTITY_METRICS)) for n, f in (*one.per_class.items(), ("class average", one.class_average))
        ]
        tables.append(
            (
                f"By class, score ≥ {one.threshold:g}",
                Table(("class", *IDENTITY_METRICS), per, sortable=True),
            )
        )
    return tables


def group_tables(subjects: Sequence[Subject]) -> list[tuple[str, Table]]:
    """AP by size, length, occlusion and number of objects; for several results, one column each."""
    analyses = [(s.name, s.analysis) for s in subjects if s.analysis]
    if not analyses:
        return []
    tables = []
    for heading, rows in analyses[0][1].groups.items():
        if len(analyses) > 1:
            columns = [{name: figures.get("AP") for name, _, figures in a.groups.get(heading, ())} for _, a in analyses]
            cells: list[Sequence[Any]] = [(name, objects, *(c.get(name) for c in columns)) for name, objects, _ in rows]
            heads: Sequence[str] = (heading, "objects", *(name for name, _ in analyses))
        else:
            keys = [k for k in METRICS if any(k in figures for _, _, figures in rows)]
            cells = [(name, objects, *_cells(figures, keys)) for name, objects, figures in rows]
            heads = (heading, "objects", *keys)
        if all(row[1] is None for row in cells):
            cells, heads = [(row[0], *row[2:]) for row in cells], (heads[0], *heads[2:])
        tables.append((f"By {heading}", Table(heads, cells)))
    return tables


def class_table(subject: Subject) -> Table:
    """A row per class: number of objects, AP and related metrics."""
    per_class = subject.scores.per_class if subject.scores else {}
    analysis = subject.analysis
    objects = {analysis.categories[c.category]: c.objects for c in analysis.curves} if analysis else {}
    aps: dict[str, Figures] = {}
    for curve in analysis.curves if analysis else ():
        at = {f"AP{t}": 100 * float(curve.precision[t].mean()) for t in (50, 75)}
        aps[analysis.categories[curve.category] if analysis else ""] = {**at}
    rows = []
    for name, stats in per_class.items():
        merged: Figures = {**aps.get(name, {}), **stats}
        rows.append((name, objects.get(name, 0), *_cells(merged, ("AP", "AP50", "AP75", "AR10", "AR100"))))
    heads = ("class", "objects", "AP", "AP50", "AP75", "AR10", "AR100")
    kept = [k for k in range(len(heads)) if k < 2 or any(row[k] is not None for row in rows)]
    return Table([heads[k] for k in kept], [[row[k] for k in kept] for row in rows], sortable=True)


def _classes(shown: Subject | None) -> Table | None:
    return class_table(shown) if shown and shown.scores else None


def _clip_facts(shown: Subject | None) -> list[Any]:
    if shown is None:
        return []
    return list(shown.analysis.clips) if shown.analysis else clips_without_truth(shown)


def _clips(shown: Subject | None, subjects: Sequence[Subject]) -> dict[str, Any]:
    """Headers and rows of the clip table, worst clip first."""
    facts = worst_first(_clip_facts(shown))
    named = {kind for clip in facts for kind in clip.errors}
    kinds = [kind for kind in (shown.analysis.errors.kinds if shown and shown.analysis else ()) if kind in named]
    others = [s for s in subjects[1:] if s.analysis]
    by_run = [(s.name, {c.id: c.AP for c in s.analysis.clips}) for s in others if s.analysis]
    truth = bool(shown and shown.analysis)
    video = bool(shown and shown.video)
    heads = ["frames"] if video else []
    heads += ["objects", "AP"] if truth else []
    heads += [f"AP, {name}" for name, _ in by_run]
    heads += ["HOTA", "switches"] if truth and video else []
    heads += ["errors", *kinds] if truth else []
    rows = []
    for clip in facts:
        cells: list[Any] = [clip.frames] if video else []
        cells += [clip.objects, clip.AP] if truth else []
        cells += [aps.get(clip.id) for _, aps in by_run]
        cells += [clip.HOTA, clip.switches] if truth and video else []
        cells += [sum(clip.errors.values()), *(clip.errors.get(kind, 0) for kind in kinds)] if truth else []
        rows.append((clip.id, clip.name, cells))
    return {"heads": heads, "rows": rows, "what": "clip" if video else "image"}


def _tiles(shown: Subject | None) -> list[tuple[str, str, str]]:
    """Headline numbers of the page: (name, value, explanation)."""
    if shown is None or shown.scores is None:
        return []
    tiles = [(name, _one(shown.scores.stats.get(name)), "") for name in METRICS if name != "AR1"]
    if shown.analysis and shown.analysis.identities:
        one = shown.analysis.identities[0]
        note = _tracks_of(one.threshold)
        tiles += [(name, _one(one.combined[name]), note) for name in ("HOTA", "IDF1", "IDSW")]
    return tiles


def _costliest(one: Subject) -> str:
    errors = one.analysis.errors if one.analysis else None
    if errors is None or errors.ap is None:
        return ""
    kind = max(errors.kinds, key=lambda k: errors.kinds[k].ap or 0.0)
    after = errors.kinds[kind].ap
    won = gain(after, errors.ap)
    if after is None or won is None or won < 0.05:
        return ""
    return f"Errors of kind “{kind}” cost most: without them alone AP would be {after:.1f} (+{won:.1f})."


def _differences(runs: Sequence[RunFacts]) -> Table | None:
    """Table of the settings in which several runs differ, by step; None for a single run."""
    if len(runs) < 2:
        return None
    rows = []
    for step in sorted({s.step for run in runs for s in run.steps}):
        found = [next((s for s in run.steps if s.step == step), None) for run in runs]
        settings = [
            {**s.settings, "starts from": s.starts_from, "learns from": s.learns_from} if s else {} for s in found
        ]
        for key in sorted({k for one in settings for k in one}):
            values = [one.get(key, "-") for one in settings]
            if len(set(values)) > 1:
                rows.append((step, key, *values))
    return Table(("step", "setting", *(run.name for run in runs)), rows)


def _marked(plots: Sequence[Plot]) -> list[Markup]:
    return [Markup(plot.svg) for plot in plots]


def _tracks_of(threshold: float) -> str:
    return f"score ≥ {threshold:g}" if threshold else "all"


def _cells(figures: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [figures.get(name) for name in names]


def _one(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.1f}"
