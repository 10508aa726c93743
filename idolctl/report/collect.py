"""Read the facts about a run from its files: command, environment, settings, scores and training curves."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idol_core.config import DataSource, StageConfig, data_sources, stage_to_dict
from idol_core.errors import IdolError
from idol_core.evaluation import METRICS
from idolctl.config.library import load_recipe, recipe_names
from idolctl.config.resolve import resolve
from idolctl.report.history import History, read_history
from idolctl.runs.find import FoundStage, stages_of
from idolctl.runs.fingerprint import SCRATCH, flat_settings
from idolctl.runs.status import standings


@dataclass(frozen=True)
class StepFacts:
    """Facts about one step of a run, from its newest stage."""

    step: int
    status: str
    scored_on: str
    learns_from: str
    starts_from: str
    iterations: int
    batch_size: int
    seconds: float
    metrics: dict[str, float] | None  # METRICS, 0..100
    changes: list[tuple[str, str, str]] | None  # (setting, shipped, here); None: no shipped recipe to compare with
    settings: dict[str, str]
    error: str
    history: History


@dataclass(frozen=True)
class RunFacts:
    """Facts about a run, with its steps in ascending order."""

    name: str
    recipe: str
    backbone: str
    command: str
    environment: list[tuple[str, str]]  # (name, text): what the run was made with
    steps: list[StepFacts] = field(default_factory=list)


def collect_run(run: Path) -> RunFacts:
    """Read the files of a run folder; missing ones are skipped. Raises Integrity for settings that can't be read."""
    newest = {stage.step: stage for stage in reversed(stages_of(run))}
    states = {one.stage: one.status for one in standings(run.parent, [run])}
    steps = [_step(stage, states.get(stage.state.folder.name, "")) for _, stage in sorted(newest.items())]
    configs = [stage.order.config() for _, stage in sorted(newest.items())]
    made = _environment(run / "environment.json")
    argv = made.get("command")
    command = shlex.join(["idolctl", *map(str, argv[1:])]) if isinstance(argv, list) and argv else ""
    recipe, backbone = (configs[0].recipe, configs[0].backbone) if configs else ("", "")
    return RunFacts(run.name, recipe, backbone, command, _told(made), steps)


def _step(stage: FoundStage, status: str) -> StepFacts:
    config = stage.order.config()
    history = read_history(stage.state.folder)
    start, parent = stage.order.fingerprint.get("start"), stage.order.parent
    begins = config.init or ("scratch" if start == SCRATCH else history.start or "scratch")
    if parent:
        begins = f"step {Path(parent).parent.name.rsplit('-', 1)[-1]}"
    metrics, error = stage.state.metrics, stage.state.error
    return StepFacts(
        step=stage.step,
        status=status or stage.state.status or "not started",
        scored_on=_source(config.data.val),
        learns_from=" and ".join(_source(s) for key, s in data_sources(config.data).items() if key != "val"),
        starts_from=begins,
        iterations=config.solver.iterations,
        batch_size=config.solver.batch_size,
        seconds=stage.state.seconds,
        metrics=None if metrics is None else {name: metrics[name] for name in METRICS if name in metrics},
        changes=_changes(config),
        settings={key: json.dumps(value) for key, value in flat_settings(stage_to_dict(config)).items()},
        error=error.what if error and stage.state.status == "failed" else "",
        history=history,
    )


def _changes(config: StageConfig) -> list[tuple[str, str, str]] | None:
    """Settings that differ from the shipped recipe of the same name and backbone; None without such a recipe."""
    if config.recipe not in recipe_names():
        return None
    try:
        (shipped,) = resolve(load_recipe(config.recipe), steps=(config.step,), backbone=config.backbone)
    except (IdolError, ValueError):
        return None
    theirs, ours = (flat_settings(stage_to_dict(one)) for one in (shipped.config, config))
    return [
        (key, _text(theirs, key), _text(ours, key))
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key)
    ]


def _text(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "-"


def _source(source: DataSource) -> str:
    return source.name or str(source.annotations or "-")


def _environment(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _told(made: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, str(made[key])) for key, name in (("time", "started"), ("platform", "platform")) if made.get(key)]
    rows += [("processors", str(made["cpus"]))] if made.get("cpus") else []
    rows += [("GPU", str(gpu)) for gpu in made.get("gpus") or ()]
    git = made.get("git")
    if isinstance(git, dict) and git.get("commit"):
        changed = len(git.get("changed") or ())
        rows.append(("commit", f"{git['commit']}{f', {changed} files changed' if changed else ''}"))
    packages = made.get("packages")
    versions = [f"{name} {version}" for name, version in (packages or {}).items() if version]
    python = [f"Python {made['python']}"] if made.get("python") else []
    return [*rows, ("versions", ", ".join([*python, *versions]))] if versions or python else rows
