"""Start a stage's processes on this machine; in a group, the other machines wait for the first one."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from idol_core.engine.stage_files import read_order
from idol_core.errors import IdolError
from idolctl.launch.failure import raise_failure
from idolctl.launch.worker import ENVIRONMENT, run_worker, worker_command
from idolctl.runs.processes import LaunchConfig
from idolctl.runs.state import StageState, read_holder, read_stage

if TYPE_CHECKING:
    from idolctl.runs.run import Run

JOIN_SECONDS = 900.0  # longest wait for the first machine to begin a stage
POLL_SECONDS = 0.5


def launch(
    config: LaunchConfig, folder: Path, *, on_report: Callable[[dict[str, Any]], None], first: bool = True
) -> tuple[int, int | None]:
    """Run this machine's processes of the stage in `folder` to their end; return the result of `run_worker`."""
    name = "launcher" if first else f"launcher-{socket.gethostname()}-{os.getpid()}"
    log = folder / "logs" / f"{name}.log" if config.grouped else None
    with TemporaryDirectory(prefix="idolctl-", ignore_cleanup_errors=True) as scratch:
        command = worker_command(config, folder, key=read_order(folder).key, scratch=scratch)
        return run_worker(command, folder, on_report=on_report, log=log, environment=ENVIRONMENT)


def leads_us(folder: Path, config: LaunchConfig) -> bool:
    """Whether the command that holds a run folder is the first machine of our own group."""
    deadline = time.monotonic() + 2
    while config.nodes > 1 and time.monotonic() < deadline:
        if holder := read_holder(folder):
            return bool(holder.endpoint == config.endpoint)
        time.sleep(0.1)
    return False


def follow(run: Run) -> None:
    """Take part in every stage that the first machine starts, until all are done."""
    print(f"joining {run.folder}, led by the first machine", file=sys.stderr)
    for stage in run.stages:
        folder = run.stage_folder(stage.chain)
        if _wait_for_start(folder, leader=run.folder, step=stage.step).done:
            continue
        code, received = launch(run.request.launch, folder, on_report=_unheard, first=False)
        state = read_stage(folder)
        if code or not state.done:
            raise_failure(state, code, received, resume=run.request.command())


def _wait_for_start(folder: Path, *, leader: Path, step: int) -> StageState:
    deadline = time.monotonic() + JOIN_SECONDS
    while True:
        state = read_stage(folder)
        if state.done or state.status in ("starting", "running"):
            return state
        if not read_holder(leader) or time.monotonic() > deadline:
            fix = "read its output, then start the command again on every machine"
            raise IdolError(f"the first machine did not start step {step}", where=str(leader), fix=fix)
        time.sleep(POLL_SECONDS)


def _unheard(_line: dict[str, Any]) -> None:
    """Ignore a report: the first machine shows them."""
