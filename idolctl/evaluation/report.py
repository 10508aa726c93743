"""Format scores as text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from idol_core.evaluation import IDENTITY_METRICS, METRICS
from idol_core.evaluation.id_switches import MIN_SCORE
from idol_core.evaluation.mending import ErrorTable
from idolctl.evaluation.scores import ERRORS_OVERLAP, Figures, Identity, Scores, VideoRow, gain
from idolctl.terminal.table import table

_SIZES = ("APs", "APm", "APl")


def score_report(scores: Scores, name: str, published: Mapping[str, Figures]) -> str:
    """Table of the main metrics with published ones below, then AP by size, by class, and any extras requested."""
    rows = [(name, *_cells(scores.stats, (*METRICS, *_SIZES)))]
    rows += [(f"{entry} (published)", *_cells(figures, (*METRICS, *_SIZES))) for entry, figures in published.items()]
    parts = [table(("", *METRICS, *_SIZES), rows)]
    keys = [k for k in (*METRICS, "AR100") if any(k in figures for figures in scores.per_class.values())]
    parts.append(table(("class", *keys), [(c, *_cells(figures, keys)) for c, figures in scores.per_class.items()]))
    if scores.occlusion:
        groups = [(group, *_cells(figures, METRICS)) for group, figures in scores.occlusion.items()]
        parts.append(table(("occlusion", *METRICS), groups))
    if scores.per_video:
        parts.append(_videos(scores.per_video))
    if scores.errors:
        parts.append(_errors(scores.errors))
    if scores.identity:
        parts.append(_identity(scores.identity))
    return "\n\n".join(parts)


def rows_report(first: str, rows: Sequence[tuple[str, Figures]]) -> str:
    """Table with one line per set of metrics; `first` is the header of its names."""
    return table((first, *METRICS), [(name, *_cells(figures, METRICS)) for name, figures in rows])


def identity_rows(rows: Sequence[tuple[str, Mapping[str, float | None]]]) -> str:
    """Table with one line per set of identity metrics."""
    cells = [(name, *_cells(figures, IDENTITY_METRICS)) for name, figures in rows]
    return table(("identity", *IDENTITY_METRICS), cells)


def error_rows(found: Sequence[tuple[str, ErrorTable]]) -> str:
    """Table of the AP gained if each kind of error were fixed, one column per result."""
    names, tables = zip(*found, strict=True)
    cells = [(kind, *(gain(one.kinds[kind].ap, one.ap) for one in tables)) for kind in tables[0].kinds]
    return table(("AP gained by mending", *names), cells) + f"\n{ERRORS_OVERLAP}"


def sweep_report(settings: Sequence[Mapping[str, str]], figures: Sequence[Figures], best: int) -> str:
    """Table with one line per combination of settings, the best one marked."""
    names = list(settings[0])
    rows = [
        (*chosen.values(), *_cells(found, METRICS), "best" if place == best else "")
        for place, (chosen, found) in enumerate(zip(settings, figures, strict=True))
    ]
    return table((*names, *METRICS, ""), rows)


def _videos(rows: Sequence[VideoRow]) -> str:
    cells = [(r.id, r.AP, r.AP50, r.AR10, r.switches, 100 * r.covered / r.visible if r.visible else None) for r in rows]
    total = sum(r.switches for r in rows)
    visible = sum(r.visible for r in rows)
    covered = 100 * sum(r.covered for r in rows) / visible if visible else 0.0
    note = (
        f"identity switches: {total}; objects have a track of score {MIN_SCORE} or more in {covered:.1f} % "
        "of the frames that show them (`held`)"
    )
    return table(("video", "AP", "AP50", "AR10", "switches", "held"), cells) + "\n" + note


def _errors(found: ErrorTable) -> str:
    rows = [(name, kind) for name, kind in (*found.kinds.items(), ("all", found.all))]
    cells = [
        (name, kind.count, kind.ap, gain(kind.ap, found.ap), kind.ap50, gain(kind.ap50, found.ap50))
        for name, kind in rows
    ]
    head = table(("error", "count", "AP mended", "gain", "AP50 mended", "gain"), cells)
    return f"{head}\n{ERRORS_OVERLAP} Counts are at an IoU of .5."


def _identity(found: Identity) -> str:
    rows = [("all classes", found.combined), ("class average", found.class_average), *found.per_class.items()]
    which = f"tracks of score {found.threshold:g} and more" if found.threshold else "all tracks, whatever their score"
    return f"{identity_rows(rows)}\n({which})"


def _cells(figures: Mapping[str, float | None], names: Sequence[str]) -> list[float | None]:
    return [figures.get(name) for name in names]
