"""Text of a run: its plan, its scores, its files and useful next commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from idol_core.data.catalog import resolve_source
from idol_core.evaluation import METRICS
from idolctl.config.load_yaml import COMMAND_LINE, Derived
from idolctl.runs.plan import Action
from idolctl.runs.run import Run
from idolctl.runs.stages import Stage
from idolctl.submission.servers import local_truth
from idolctl.terminal.progress import clock
from idolctl.terminal.table import table


def plan_table(actions: Sequence[Action]) -> str:
    """Table with a row per step: action and reason, initial weights and training data."""
    rows = []
    for action in actions:
        config = action.stage.config
        start = f"step {action.stage.parent.rsplit('-', 1)[-1]}" if action.stage.parent else config.init or "scratch"
        solver = config.solver
        work = f"{solver.iterations} x {solver.batch_size}"
        data = config.data.train.name or config.data.train.annotations
        if config.data.mix.share:
            images = config.data.mix.images.name or config.data.mix.images.annotations
            data = f"{data}, {config.data.mix.share:.0%} {images}"
        rows.append((action.stage.step, action.kind, action.reason, start, data, work))
    text = table(("step", "action", "reason", "starts from", "learns from", "iterations x batch"), rows)
    notes = [
        f"step {a.stage.step} is inferred: {a.stage.resolved.inferred}" for a in actions if a.stage.resolved.inferred
    ]
    notes += [note for a in actions for note in _fewer_items(a.stage)]
    changes = [f"step {a.stage.step} changed: {change}" for a in actions for change in a.changes]
    return "\n".join([text, *notes, *(note for a in actions for note in _derived(a.stage)), *changes])


def _fewer_items(stage: Stage) -> list[str]:
    """A note if --set changed the batch but not the iterations, so that the step sees more or fewer items."""
    solver, usual = stage.config.solver, stage.resolved.recipe_batch
    length = stage.resolved.settings[("solver", "iterations")].origin
    if usual in (None, solver.batch_size) or length == COMMAND_LINE or isinstance(length, Derived):
        return []
    assert usual is not None
    factor = usual / solver.batch_size
    milestones = ",".join(str(round(m * factor)) for m in solver.milestones)
    return [
        f"step {stage.step}: with batches of {solver.batch_size} instead of {usual} it sees {1 / factor:.3g} times the "
        f"recipe's items; for as many: --set solver.iterations={round(solver.iterations * factor)} "
        f"--set solver.milestones=[{milestones}]"
    ]


def derived_settings(stage: Stage) -> dict[str, tuple[Any, str]]:
    """The settings of a stage that follow from its data set: value, and what it was derived from."""
    found = stage.resolved.settings.values()
    return {v.name: (v.value, v.origin.file) for v in found if isinstance(v.origin, Derived)}


def _derived(stage: Stage) -> list[str]:
    """Notes on a stage that was made for a data set: a line for every setting that follows from it, with its source."""
    lines = []
    for name, (value, source) in derived_settings(stage).items():
        shown = (", ".join(map(str, value)) or "none") if isinstance(value, list) else value
        lines.append(f"step {stage.step}: {name} {shown}, from {source}")
    rest = [f"step {stage.step}: all other settings are {stage.based_on}"] if stage.based_on else []
    return lines + rest


def score_table(run: Run) -> str:
    """Table with a row per step: validation set, metrics (0..100) and duration."""
    rows = []
    for stage in run.stages:
        state = run.state(stage)
        scored = "masks in images" if stage.step < 3 else "tracks in videos"
        data = stage.config.data.val.name or stage.config.data.val.annotations
        metrics = [(state.metrics or {}).get(name) for name in METRICS]
        rows.append((stage.step, f"{data} ({scored})", *metrics, clock(state.seconds)))
    text = table(("step", "scored on", *METRICS, "time"), rows)
    unscored = [s.step for s in run.stages if run.state(s).metrics is None]
    note = "\nStep {}: no ground truth here, so no score.".format(" and ".join(map(str, unscored)))
    return text + (note if unscored else "")


def file_list(outputs: dict[str, Path]) -> str:
    """The run's files, one per line."""
    return table(("file", "path"), [(name, str(path)) for name, path in outputs.items()])


def next_steps(run: Run, outputs: dict[str, Path]) -> list[str]:
    """Suggested next commands, and files to look at."""
    last, recipe = run.stages[-1], shlex.join(run.request.subject)
    made = last.based_on  # for a data set: it has this step only, and depends on the initial weights
    recipe += f" --init {shlex.quote(run.request.init)}" if made and run.request.init else ""
    steps = []
    if "report" in outputs:
        steps.append(f"open {outputs['report']} in a browser")
    elif "contact" in outputs:
        steps.append(f"look at {outputs['contact']}" + (f" and {outputs['overlay']}" if "overlay" in outputs else ""))
    data = last.config.data.val.name
    if "submission" in outputs and run.state(last).metrics is None and data:
        steps.append(f"idolctl submit {data.removesuffix('_val')} --run {run.folder} (what is known of its server)")
        val = resolve_source(last.config.data.val, run.root)
        truth = local_truth(data.removesuffix("_val"), Path(str(val.annotations)))
        steps += [f"idolctl eval {run.folder} (its score; {truth.told})"] if truth else []
    following = [s for s in (1, 2, 3) if s > last.step and run.request.config_file is None and not made]
    if following:
        steps.append(f"idolctl run {recipe} --steps {_joined([s.step for s in run.stages] + following[:1])}")
    else:
        steps.append(f"idolctl run {recipe} --set solver.lr=2e-4 --name other")
    return steps


def as_json(run: Run, outputs: dict[str, Path], seconds: float) -> dict[str, Any]:
    """Metrics by step, paths of all files, seconds of this command and of each step's training."""
    states = [(str(stage.step), run.state(stage)) for stage in run.stages]
    paths = {"run": str(run.folder.resolve()), **{name: str(path.resolve()) for name, path in outputs.items()}}
    stages = {str(s.step): str(run.stage_folder(s.chain).resolve()) for s in run.stages}
    return {
        "metrics": {step: _metrics(state.metrics) for step, state in states},
        "paths": {**paths, "stages": stages},
        "seconds": round(seconds, 2),
        "stage_seconds": {step: state.seconds for step, state in states},
    }


def _metrics(found: dict[str, float] | None) -> dict[str, float] | None:
    return None if found is None else {name: found[name] for name in METRICS if name in found}


def _joined(steps: Sequence[int]) -> str:
    return ",".join(map(str, steps))
