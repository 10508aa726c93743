"""Execute a run: for each stage in turn, prepare its folder, start its worker and wait until it ends."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idol_core.config import stage_to_dict
from idol_core.errors import IdolError
from idol_core.system.files import write_aside, write_json
from idolctl.config.dump_yaml import as_yaml
from idolctl.datasets.root import make_toy_data
from idolctl.errors import raise_all
from idolctl.launch.failure import raise_failure
from idolctl.launch.group import follow, launch, leads_us
from idolctl.runs.environment import describe_environment
from idolctl.runs.fingerprint import stage_key
from idolctl.runs.outputs import make_outputs
from idolctl.runs.plan import Action
from idolctl.runs.report import plan_table
from idolctl.runs.run import Run, obstacles, refuse_changes, uses_toy
from idolctl.runs.stages import Stage
from idolctl.runs.state import (
    WEIGHTS,
    InUse,
    StageState,
    clear_stage,
    make_room,
    mark_starting,
    read_stage,
    run_lock,
    stage_lock,
)
from idolctl.signals import stoppable
from idolctl.terminal.progress import clock
from idolctl.terminal.stage_display import make_display
from idolctl.zoo.metadata import zoo_classes

# of a stage folder
_RECORDS = ("stage.json", "recipe.yaml", "state.json", "metrics.jsonl", "run-logs.json")
_FILES = (*_RECORDS, WEIGHTS, "results.json", "results-set.json", "evaluation.json")
_FOLDERS = ("checkpoints", "logs", "parts", "evaluations", "tensorboard", "wandb")


@dataclass(frozen=True)
class Outcome:
    """Result of a run: whether any stage had work left, and the run's files."""

    worked: bool
    outputs: dict[str, Path]


def execute(run: Run) -> Outcome:
    """Complete every stage of the run and make the run's files.

    Raises IdolError with the exit code of a failure; KeyboardInterrupt after Ctrl-C, and Preempted after SIGTERM or
    SIGUSR1, both once the worker has written its checkpoint.
    """
    try:
        with prepared(run) as actions:
            left = [a for a in actions if a.kind != "skip"]
            for action in left:
                _run_stage(run, run.plan_stage(action.stage) if action.kind == "wait" or action.fresh else action)
            return Outcome(bool(left), make_outputs(run))
    except InUse:
        if not leads_us(run.folder, run.request.launch):
            raise
    with stoppable():
        follow(run)
    return Outcome(True, {})


@contextmanager
def prepared(run: Run) -> Iterator[list[Action]]:
    """Lock the run folder, make the toy data if used, clear forced stages, and yield the plan.

    Raises InvalidInput for a changed recipe, Missing for absent data or weights; a run folder that was newly made is
    then removed again.
    """
    new = not run.folder.exists()
    with run_lock(run.folder, endpoint=run.request.launch.endpoint), stoppable():
        for stage in run.stages:
            _settle(run, stage)
        if uses_toy(run.stages):
            make_toy_data(run.root)
        actions = run.plan()
        try:
            refuse_changes(run, actions)
            raise_all(obstacles(run, actions))
        except IdolError:
            if new:
                shutil.rmtree(run.folder, ignore_errors=True)
                with suppress(OSError):  # runs/ holds other runs
                    run.folder.parent.rmdir()
            raise
        if any(a.kind != "skip" for a in actions):
            print(plan_table(actions), file=sys.stderr)
            write_json(run.folder / "environment.json", describe_environment())
        for action in actions:
            if action.fresh:
                _clear(run, action.stage)
        yield actions


def _run_stage(run: Run, action: Action) -> None:
    """Run one stage whose parent is done."""
    stage, found = action.stage, action.found
    refuse_changes(run, [action])
    if action.kind == "skip":
        return
    if action.kind == "run":
        _clear(run, stage)
        found = StageState(found.folder)
    folder = run.stage_folder(stage.chain)
    folder.mkdir(parents=True, exist_ok=True)
    make_room(folder, files=_FILES, folders=_FOLDERS)
    _write_order(run, action)
    mark_starting(folder)
    display = make_display(stage.step, start=found.iteration, iterations=stage.config.solver.iterations)
    try:
        code, received = launch(run.request.launch, folder, on_report=display.report)
    finally:
        display.close()
    state = read_stage(folder)
    if code == 0 and state.done:
        print(f"step {stage.step}  done in {clock(state.seconds)}{_scores(state)}", file=sys.stderr)
        return
    state = replace(state, iterations=stage.config.solver.iterations)
    raise_failure(state, code, received, resume=run.request.command())


def _write_order(run: Run, action: Action) -> None:
    stage, fingerprint = action.stage, action.fingerprint
    folder = run.stage_folder(stage.chain)
    order: dict[str, Any] = {
        "key": stage_key(fingerprint),
        "identity": fingerprint,
        "config": stage_to_dict(stage.config),
        "parent": str((run.stage_folder(stage.parent) / WEIGHTS).resolve()) if stage.parent else None,
        "root": str(run.root.resolve()),
        "log": run.request.log,
        "outputs": stage is run.stages[-1],
        "init_classes": zoo_classes(stage.config.init),
    }
    write_json(folder / "stage.json", order)
    with write_aside(folder / "recipe.yaml") as aside:
        aside.write_text(as_yaml(stage.resolved), encoding="utf-8")


def _settle(run: Run, stage: Stage) -> None:
    """Wait for a worker whose parent command was killed: it is writing its last checkpoint."""
    folder = run.stage_folder(stage.chain)
    if folder.is_dir():
        with stage_lock(folder):
            pass


def _clear(run: Run, stage: Stage) -> None:
    folder = run.stage_folder(stage.chain)
    if folder.is_dir():
        with stage_lock(folder):
            clear_stage(folder)


def _scores(state: StageState) -> str:
    return "".join(f"  {name} {value:.1f}" for name, value in (state.metrics or {}).items())
