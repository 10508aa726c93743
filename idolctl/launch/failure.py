"""Raise the error for a worker process that ended early, from its exit code, the signal or state.json."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from idol_core.errors import IdolError, Preempted
from idolctl.runs.state import StageState


def raise_failure(state: StageState, code: int, received: int | None, *, resume: str) -> None:
    """Raise the error for a worker's end, judged by the signal passed on, then state.json, then its exit code."""
    at = f"iteration {state.iteration} of {state.iterations}"
    if received == signal.SIGINT:
        print(f"stopped at {at}; to continue from there: {resume}", file=sys.stderr)
        raise KeyboardInterrupt
    if received is not None or code == Preempted.exit_code or state.status == "stopped":
        raise Preempted(f"stopped at {at}", where=str(state.folder), fix=resume)
    if state.status == "failed" and state.error:
        if state.error.traceback:
            print(f"[rank {state.error.rank}] {state.error.traceback.rstrip()}", file=sys.stderr)
        error = IdolError(state.error.what, where=state.error.where, fix=state.error.fix)
        error.exit_code = state.error.exit_code
        raise error
    how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    log = max(state.folder.glob("logs/*.log"), key=_changed, default=state.folder / "logs" / "rank0.log")
    said = "perhaps memory ran out" if code == -signal.SIGKILL else _last_line(log)
    raise IdolError(f"the worker {how} ({said})", where=str(log), fix=f"read the log; to continue at {at}: {resume}")


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "it left no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")
