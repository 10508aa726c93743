"""Walk the plan: put a stage's folder in order, start its worker, follow it, go on with the next."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idol_core.config import stage_to_dict
from idol_core.errors import IdolError, Preempted
from idol_core.files import write_aside, write_json
from idolctl.chain import Stage
from idolctl.environment import describe_environment
from idolctl.identity import stage_key
from idolctl.job import Job, lacking, refuse_changes
from idolctl.launch.nodes import follow, launch, leads_us
from idolctl.mistakes import raise_all
from idolctl.outputs import make_outputs
from idolctl.plan import Action, make_plan
from idolctl.progress import clock, make_display
from idolctl.rendering import as_yaml
from idolctl.state import WEIGHTS, InUse, StageState, clear_stage, mark_starting, read_stage, run_lock, stage_lock
from idolctl.stopping import stoppable
from idolctl.summary import plan_table
from idolctl.workspace import make_toy_data, uses_toy


@dataclass(frozen=True)
class Outcome:
    """What a command did: whether any stage had work left, and the files the run has now."""

    worked: bool
    outputs: dict[str, Path]


def execute(job: Job) -> Outcome:
    """Bring every stage of the job to its end and make the run's files.

    Raises IdolError with the exit code of what went wrong; KeyboardInterrupt after Ctrl-C, Preempted after SIGTERM and
    after SIGUSR1, both when the worker has its checkpoint.
    """
    try:
        with prepared(job) as actions:
            left = [a for a in actions if a.kind != "skip"]
            for action in left:
                _run_stage(job, action.stage)
            return Outcome(bool(left), make_outputs(job))
    except InUse:
        if not leads_us(job.folder, job.request.ranks):
            raise
    with stoppable():
        follow(job, raise_failure)
    return Outcome(True, {})


@contextmanager
def prepared(job: Job) -> Iterator[list[Action]]:
    """Hold the run folder with everything in place for the plan that is yielded: data made, forced stages cleared."""
    _refuse(job, job.plan())
    with run_lock(job.folder, endpoint=job.request.ranks.endpoint), stoppable():
        for stage in job.stages:
            _settle(job, stage)
        if uses_toy(job.stages):
            make_toy_data(job.root)
        actions = job.plan()
        _refuse(job, actions)
        if any(a.kind != "skip" for a in actions):
            print(plan_table(actions), file=sys.stderr)
            write_json(job.folder / "environment.json", describe_environment())
        for action in actions:
            if action.fresh:
                _clear(job, action.stage)
        yield actions


def _refuse(job: Job, actions: list[Action]) -> None:
    """Exit 2 over a changed recipe, exit 3 over missing data or weights, before anything is touched."""
    refuse_changes(job, actions)
    raise_all(lacking(job, actions))


def _run_stage(job: Job, stage: Stage) -> None:
    """Run one stage whose parent is done."""
    found = job.state(stage)
    action = _action_now(job, stage)
    refuse_changes(job, [action])
    if action.kind == "skip":
        return
    if action.kind == "run":
        _clear(job, stage)
        found = StageState(found.folder)
    folder = job.stage_folder(stage.chain)
    folder.mkdir(parents=True, exist_ok=True)
    _write_order(job, stage)
    mark_starting(folder)
    display = make_display(stage.step, start=found.iteration, iterations=stage.config.solver.iterations)
    try:
        code, received = launch(job.request.ranks, folder, on_report=display.report)
    finally:
        display.close()
    state = read_stage(folder)
    if code == 0 and state.done:
        print(f"step {stage.step}  done in {clock(state.seconds)}{_scores(state)}", file=sys.stderr)
        return
    state = replace(state, iterations=stage.config.solver.iterations)
    raise_failure(state, code, received, resume=job.request.command())


def _action_now(job: Job, stage: Stage) -> Action:
    """What to do now that the parent is done; what --force-step names has been cleared already."""
    return make_plan([stage], {stage.chain: job.state(stage)}, {stage.chain: job.identity(stage)})[0]


def raise_failure(state: StageState, code: int, received: int | None, *, resume: str) -> None:
    """Raise what a worker's end means: by the signal that was passed on, by state.json, by its exit code."""
    at = f"iteration {state.iteration} of {state.iterations}"
    if received == signal.SIGINT:
        print(f"stopped at {at}; to go on from there: {resume}", file=sys.stderr)
        raise KeyboardInterrupt
    if received is not None or code == Preempted.exit_code or state.status == "stopped":
        raise Preempted(f"stopped at {at}", where=str(state.folder), fix=resume)
    if state.status == "failed" and state.error:
        if state.error.get("traceback"):
            print(f"[rank {state.error['rank']}] {state.error['traceback'].rstrip()}", file=sys.stderr)
        error = IdolError(state.error["what"], where=state.error["where"], fix=state.error["fix"])
        error.exit_code = int(state.error["exit_code"])
        raise error
    how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    log = max(state.folder.glob("logs/*.log"), key=_changed, default=state.folder / "logs" / "rank0.log")
    said = "perhaps memory ran out" if code == -signal.SIGKILL else _last_line(log)
    raise IdolError(f"the worker {how} ({said})", where=str(log), fix=f"look at the log; to go on at {at}: {resume}")


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "it left no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def _write_order(job: Job, stage: Stage) -> None:
    folder, identity = job.stage_folder(stage.chain), job.identity(stage)
    order: dict[str, Any] = {
        "key": stage_key(identity),
        "identity": identity,
        "config": stage_to_dict(stage.config),
        "parent": str((job.stage_folder(stage.parent) / WEIGHTS).resolve()) if stage.parent else None,
        "root": str(job.root.resolve()),
        "outputs": stage is job.stages[-1],
    }
    write_json(folder / "stage.json", order)
    with write_aside(folder / "recipe.yaml") as aside:
        aside.write_text(as_yaml(stage.resolved), encoding="utf-8")


def _settle(job: Job, stage: Stage) -> None:
    """Wait for a worker whose command line was killed: it is writing its last checkpoint."""
    folder = job.stage_folder(stage.chain)
    if folder.is_dir():
        with stage_lock(folder):
            pass


def _clear(job: Job, stage: Stage) -> None:
    folder = job.stage_folder(stage.chain)
    if folder.is_dir():
        with stage_lock(folder):
            clear_stage(folder)


def _scores(state: StageState) -> str:
    return "".join(f"  {name} {value:.1f}" for name, value in (state.metrics or {}).items())
