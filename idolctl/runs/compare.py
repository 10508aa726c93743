"""Compare two runs: settings that differ, and the scores of each step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from idol_core.classes import check_same_classes
from idol_core.evaluation import METRICS
from idolctl.runs.find import FoundStage, stage_classes, stages_of
from idolctl.runs.fingerprint import flat_settings
from idolctl.terminal.table import table
from idolctl.terminal.text import printable


def compare_runs(first: Path, second: Path) -> list[dict[str, Any]]:
    """Compare step by step: for each, differing settings {key: [a, b]} and metrics {name: [a, b]}.

    Steps that only one run has are included. Raises InvalidInput if the classes of a step differ between the runs:
    their scores are not comparable.
    """
    sides = [_by_step(first), _by_step(second)]
    for step in sides[0].keys() & sides[1]:
        _check_classes(step, sides[0][step], sides[1][step])
    return [_compare_step(step, *(side.get(step) for side in sides)) for step in sorted(sides[0].keys() | sides[1])]


def comparison_text(entries: list[dict[str, Any]], first: str, second: str) -> str:
    """Format the entries of `compare_runs` as tables."""
    settings = [(e["step"], key, _text(a), _text(b)) for e in entries for key, (a, b) in sorted(e["settings"].items())]
    scores = [
        (e["step"], name, a, b, None if a is None or b is None else f"{b - a:+.1f}")
        for e in entries
        for name, (a, b) in e["metrics"].items()
    ]
    parts = [table(("step", "setting", first, second), settings) if settings else "the settings are the same"]
    if scores:
        parts.append(table(("step", "metric", first, second, "difference"), scores))
    names = printable(first), printable(second)
    parts += [f"step {e['step']}: only in {names[e['only']]}" for e in entries if "only" in e]
    return "\n\n".join(parts)


def _compare_step(step: int, first: FoundStage | None, second: FoundStage | None) -> dict[str, Any]:
    if first is None or second is None:
        return {"step": step, "settings": {}, "metrics": {}, "only": 0 if second is None else 1}
    a, b = (flat_settings(stage.order.settings) for stage in (first, second))
    for values, stage in ((a, first), (b, second)):
        start = "a step before" if stage.order.parent else None
        values["starts from"] = stage.order.settings.get("init") or start
        values |= {f"annotations of {part}": stage.order.fingerprint.get(part) for part in ("train", "val", "mix")}
    differing = {key: [a.get(key), b.get(key)] for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
    scores = [stage.state.metrics or {} for stage in (first, second)]
    metrics = {name: [s.get(name) for s in scores] for name in METRICS if any(name in s for s in scores)}
    return {"step": step, "settings": differing, "metrics": metrics}


def _check_classes(step: int, first: FoundStage, second: FoundStage) -> None:
    folders = [stage.state.folder for stage in (first, second)]
    known = [stage_classes(folder) for folder in folders]
    if known[0] is not None and known[1] is not None:
        names = [f"step {step} of {stage.run.name}" for stage in (first, second)]
        check_same_classes(known[0], known[1], sides=(names[0], names[1]), where=" and ".join(map(str, folders)))


def _by_step(run: Path) -> dict[int, FoundStage]:
    """The newest stage of every step."""
    return {stage.step: stage for stage in reversed(stages_of(run))}


def _text(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
