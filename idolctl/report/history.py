"""Read training curves from a stage's `metrics.jsonl`, averaged down to what a chart can show."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idolctl.report.charts import Line

POINTS = 300  # most points of a curve; more are averaged
_LAYER = re.compile(r"_(\d+)$")
TITLES = {
    "loss": "total loss",
    "lr": "learning rate",
    "grad_norm": "gradient norm (before clipping)",
    "it_per_s": "iterations per second",
    "data_wait": "share of time waiting for data",
    "memory_mib": "peak memory, MiB",
}


@dataclass(frozen=True)
class History:
    """Training curves by name ('losses/NAME', 'scores/NAME', ...): (iterations, minutes of training, values)."""

    curves: dict[str, tuple[list[float], list[float], list[float]]] = field(default_factory=dict)
    start: str = ""  # text of the log's start event: the initial weights
    warnings: tuple[str, ...] = ()
    sessions: int = 1


def read_history(folder: Path) -> History:
    """Read a stage's `metrics.jsonl`; incomplete lines are skipped.

    Time is computed from iterations per second, so it counts training alone.
    """
    curves: dict[str, tuple[list[float], list[float], list[float]]] = {}
    start, warnings, sessions = "", [], 1
    done, minutes = 0.0, 0.0
    for line in _lines(folder / "metrics.jsonl"):
        event = line.get("event")
        if event == "start":
            start = str(line.get("text", ""))
        elif event == "warning":
            warnings.append(str(line.get("text", "")))
        elif event == "resumed":
            sessions += 1
        if not _is_number(line.get("iteration")) or event not in (None, "evaluated"):
            continue
        iteration, speed = float(line["iteration"]), line.get("it_per_s")
        if _is_number(speed) and speed and speed > 0 and iteration > done:
            minutes += (iteration - done) / speed / 60
            done = iteration
        for name, value in _values(line):
            for column, number in zip(curves.setdefault(name, ([], [], [])), (iteration, minutes, value), strict=True):
                column.append(number)
    thinned = {name: _thin(*columns) for name, columns in curves.items()}
    return History(thinned, start, tuple(warnings), sessions)


def curve_groups(histories: Sequence[tuple[str, History]]) -> list[tuple[str, list[Line], bool]]:
    """Charts of one step of one or several runs: (title, lines, whether it is about an inner decoder layer).

    For one run, a chart has all decoder layers of a loss; for several runs, it has one line per run.
    """
    names = list(dict.fromkeys(name for _, history in histories for name in history.curves))
    order = [*TITLES, *(n for n in names if "/" in n)]
    groups: dict[str, list[Line]] = {}
    inner: dict[str, bool] = {}
    alone = len(histories) == 1
    for name in sorted(set(names) & set(order), key=order.index):
        for place, (run, history) in enumerate(histories):
            if name not in history.curves:
                continue
            title, series = _title(name), run
            color = place
            if alone:
                title, series, color = _of_one(name, groups)
            groups.setdefault(title, []).append(_line(series, history.curves[name], color))
            inner[title] = not alone and bool(_LAYER.search(name))
    return [(title, lines, inner[title]) for title, lines in groups.items()]


def _of_one(name: str, groups: dict[str, list[Line]]) -> tuple[str, str, int]:
    """Chart title, line name and color of a curve if only one run is shown."""
    kind, _, part = name.partition("/")
    if kind == "losses":
        layer = _LAYER.search(part)
        title = _title(_LAYER.sub("", name))
        return title, f"decoder layer {int(layer[1]) + 1}" if layer else "last layer", len(groups.get(title, []))
    if kind == "scores":
        return "validation scores", part, len(groups.get("validation scores", []))
    return _title(name), _title(name), 0


def _title(name: str) -> str:
    kind, _, part = name.partition("/")
    return TITLES.get(name, f"{part} during training" if kind == "scores" else part)


def _line(name: str, columns: tuple[list[float], list[float], list[float]], color: int) -> Line:
    return Line(name, {"iteration": columns[0], "minutes": columns[1]}, columns[2], color)


def _values(line: dict[str, Any]) -> list[tuple[str, float]]:
    found = [(name, float(line[name])) for name in TITLES if _is_number(line.get(name))]
    for group, key in (("losses", "losses"), ("scores", "metrics")):
        part = line.get(key)
        if isinstance(part, dict):
            found += [(f"{group}/{name}", float(value)) for name, value in part.items() if _is_number(value)]
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:  # incomplete: the process was killed while writing
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def _thin(*columns: list[float]) -> tuple[list[float], list[float], list[float]]:
    """Average neighbouring points down to at most POINTS; the first and the last point stay unchanged."""
    count = len(columns[0])
    if count <= POINTS:
        return columns[0], columns[1], columns[2]
    edges = [0, 1, *(1 + round((count - 2) * k / (POINTS - 2)) for k in range(1, POINTS - 1)), count]
    means = [[sum(c[a:b]) / (b - a) for a, b in itertools.pairwise(edges) if b > a] for c in columns]
    return means[0], means[1], means[2]
