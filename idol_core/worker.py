"""The process that runs one stage: `python -m idol_core.worker STAGE_DIR`, alone or under torchrun.

Its input is STAGE_DIR/stage.json; it writes state.json, metrics.jsonl, logs/, checkpoints/ and the results.
On SIGTERM, SIGINT or SIGUSR1 it writes a checkpoint and exits with 75; an error's class determines its exit code.

torchrun restarts all processes when one exits with another code than 0. So under torchrun a process that stopped after
writing a checkpoint exits with 0 and state.json says `stopped`. A process that is restarted after an error that would
only recur exits at once with that error's code.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from idol_core.engine.stage_files import read_status
from idol_core.errors import Preempted
from idol_core.system.cpu import configure_threads

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def main(argv: list[str]) -> int:
    """Run the stage in the folder `argv[0]`; return the exit code."""
    if len(argv) != 1:
        print("usage: python -m idol_core.worker STAGE_DIR", file=sys.stderr)
        return 2
    folder = Path(argv[0]).resolve()
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and (code := _final_code(folder)):
        return code
    configure_threads(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    _log_to(folder / "logs" / f"rank{os.environ.get('RANK', '0')}.log")

    from idol_core.engine.failure import report_failure  # imports torch, so only after the threads are configured
    from idol_core.engine.stage import run_stage

    code = 0
    try:
        run_stage(folder, should_stop=stop.is_set)
    except Exception as error:
        known = report_failure(folder, error)
        print(f"{type(known).__name__}: {known.what}", file=sys.stderr, flush=True)
        code = 0 if under_torchrun and isinstance(known, Preempted) else known.exit_code
    for number in SIGNALS:  # Python restores the default handlers at exit; a signal then would change the code
        signal.signal(number, signal.SIG_IGN)
    return code


def _final_code(folder: Path) -> int | None:
    """Exit code of the error that ended the previous attempt, if a restart can't fix it; else None."""
    state = read_status(folder)
    return state.error.exit_code if state.status == "failed" and state.error and state.error.final else None


def _log_to(path: Path) -> None:
    """Send this process's stdout and stderr to `path` (appended)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
