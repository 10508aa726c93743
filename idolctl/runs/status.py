"""Status of a run's stages, read from its files."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idol_core.engine.metrics_lines import parse_line
from idol_core.engine.stage_files import METRICS_LINES, ORDER
from idolctl.runs.find import FoundStage, run_folders, stages_of, unreadable_stages
from idolctl.runs.slurm_jobs import queue_state, read_jobs
from idolctl.runs.state import read_holder
from idolctl.terminal.progress import clock
from idolctl.terminal.table import table
from idolctl.terminal.text import printable

TAIL_BYTES = 2**16


@dataclass(frozen=True)
class Standing:
    """A stage as `idolctl status` shows it."""

    run: str
    stage: str
    # as in state.json; "killed" if its processes vanished; before it starts, the Slurm job's state; "unreadable"
    status: str
    phase: str = ""
    iteration: int = 0
    iterations: int = 0
    loss: float | None = None
    it_per_s: float | None = None
    data_wait: float | None = None
    left: str | None = None
    AP: float | None = None
    seconds: float = 0.0
    job: str | None = None
    error: str | None = None


def standings(runs: Path, names: Sequence[Path] = ()) -> list[Standing]:
    """All stages of the run folders `names` (default: all in `runs`), ordered by step."""
    return [stage for run in names or run_folders(runs) for stage in _of_run(run)]


def standing_table(found: Sequence[Standing]) -> str:
    """Table with a row per stage, followed by their errors."""
    headers = ("run", "stage", "status", "iteration", "loss", "it/s", "wait %", "left", "AP", "time", "job")
    rows = []
    for s in found:
        wait = None if s.data_wait is None else 100 * s.data_wait
        doing = f"{s.status} ({s.phase})" if s.status == "running" and s.phase else s.status
        at = f"{s.iteration}/{s.iterations}"
        speed = None if s.it_per_s is None else f"{s.it_per_s:.2f}"
        rows.append((s.run, s.stage, doing, at, s.loss, speed, wait, s.left, s.AP, clock(s.seconds), s.job))
    errors = [printable(f"{s.run}/{s.stage}: {s.error}") for s in found if s.error]
    return "\n".join([table(headers, rows), *errors])


def as_json(found: Sequence[Standing]) -> dict[str, Any]:
    """One JSON-ready object."""
    return {"stages": [asdict(s) for s in found]}


def _of_run(run: Path) -> Iterator[Standing]:
    jobs = {entry["stage"]: entry for entry in read_jobs(run)}
    alive = _is_held(run)
    started = [_of_stage(stage, jobs.pop(stage.state.folder.name, None), alive) for stage in stages_of(run)]
    for folder in unreadable_stages(run):
        what = f"{folder / ORDER} can't be read; idolctl run says what to do"
        started.append(Standing(run.name, folder.name, "unreadable", error=what))
    yield from sorted(started, key=lambda s: (len(s.stage), s.stage))
    for chain, entry in jobs.items():
        status = queue_state(entry) or "submitted"
        yield Standing(run.name, chain, status, job=entry["job"])


def _of_stage(stage: FoundStage, job: dict[str, str] | None, alive: bool) -> Standing:
    state = stage.state
    total = stage.order.iterations
    line = last_report(state.folder)
    status = state.status or "not started"
    if status in ("running", "starting", "stopped") and not alive:
        status = (queue_state(job) if job else None) or ("stopped" if status == "stopped" else "killed")
    running = status == "running"
    speed = line.get("it_per_s") if running and line.get("it_per_s", 0.0) > 0 else None
    iteration = (state.reached or total) if state.done else max(state.iteration, line.get("iteration", 0))
    left = clock(max(total - iteration, 0) / speed) if speed and state.phase == "train" else None
    return Standing(
        run=stage.run.name,
        stage=state.folder.name,
        status=status,
        phase=state.phase,
        iteration=iteration,
        iterations=total,
        loss=line.get("loss"),
        it_per_s=speed,
        data_wait=line.get("data_wait") if running else None,
        left=left,
        AP=(state.metrics or {}).get("AP"),
        seconds=state.seconds,
        job=job["job"] if job else None,
        error=state.error.what if state.error and status == "failed" else None,
    )


def list_runs(runs: Path, as_json: bool) -> None:
    """Print a line for every run in `runs`: its steps and their status."""
    rows = []
    for run in run_folders(runs):
        found = list(_of_run(run))
        steps = ", ".join(f"{s.stage.rsplit('-', 1)[-1]} {s.status}" for s in found)
        changed = max((s.changed for s in stages_of(run)), default=0.0)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(changed)) if changed else None
        rows.append({"run": run.name, "steps": steps, "AP": found[-1].AP if found else None, "changed": when})
    if as_json:
        print(json.dumps({"runs": rows}))
    elif rows:
        print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
        print("\nNext: idolctl status, idolctl compare A B")
    else:
        print(f"no runs below {runs}\n\nNext: idolctl run toy")


def last_report(folder: Path) -> dict[str, Any]:
    """The newest training line of a stage's metrics.jsonl; {} if there is none."""
    path = folder / METRICS_LINES
    if not path.is_file():
        return {}
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return {}
    told = (parse_line(line) for line in reversed(lines))
    return next((values for values in told if values and "loss" in values), {})


def _is_held(run: Path) -> bool:
    """Whether a command runs in the folder; a holder on another machine is assumed to be alive."""
    holder = read_holder(run)
    if holder is None:
        return False
    if holder.host != socket.gethostname():
        return True
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
