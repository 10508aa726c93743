"""Start a stage's worker process (or torchrun with several) and watch it until it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import IO, Any

from idol_core.engine.metrics_lines import RESUMED, parse_line
from idolctl.runs.processes import LaunchConfig

POLL_SECONDS = 0.2
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def run_worker(
    command: list[str],
    folder: Path,
    *,
    on_report: Callable[[dict[str, Any]], None],
    log: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, int | None]:
    """Run `command`, the worker of the stage in `folder`, to its end.

    Every new line of metrics.jsonl is passed to `on_report`. The command's output goes to the file `log` (None: stderr
    is shown, stdout discarded). `environment` is added to our own. SIGINT, SIGTERM and SIGUSR1 are passed on, so that
    the worker writes a checkpoint; a second SIGINT kills it.

    Returns:
        The worker's exit code (negative: killed by that signal) and the first signal passed on, or None.
    """
    reports = _Tail(folder / "metrics.jsonl")
    bound = [sys.executable, "-m", "idolctl.launch.die_with_parent", str(os.getpid()), *command]
    with _opened(log) as said:
        output = said or subprocess.DEVNULL
        worker = subprocess.Popen(
            bound,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=said,
            process_group=0,
        )
    with _forwarding(worker) as received:
        try:
            while worker.poll() is None:
                time.sleep(POLL_SECONDS)
                for report in reports.new():
                    on_report(report)
        finally:
            if worker.poll() is None:  # an error in this process: leave no worker behind
                worker.terminate()
                worker.wait()
    for report in reports.new():
        on_report(report)
    return worker.returncode, received[0] if received else None


@contextmanager
def _forwarding(worker: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        again = number == signal.SIGINT and number in received
        received.append(number)
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL if again else number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _opened(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        yield file


class _Tail:
    """Follows a growing JSON Lines file, which a resuming worker may replace with a shorter one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._offset = self._found()

    def new(self) -> Iterator[dict[str, Any]]:
        file, _ = self._found()
        if file != self._file:
            marks = [end for line, end in self._lines(0) if line.get("event") == RESUMED]
            self._file, self._offset = file, max(marks, default=0)
        for line, end in self._lines(self._offset):
            self._offset = end
            yield line

    def _found(self) -> tuple[int, int]:
        """The file's inode number and its size."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_ino, stat.st_size

    def _lines(self, start: int) -> Iterator[tuple[dict[str, Any], int]]:
        """The complete lines from byte `start` on, each with the offset of its end."""
        with suppress(FileNotFoundError), open(self._path, "rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                if (values := parse_line(line)) is not None:
                    yield values, start


SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"  # torchrun passes these on


SHUTDOWN_SECONDS = 120  # time for the last checkpoint before torchrun kills the workers


MAX_RESTARTS = 3


# Without this, torchrun keeps one store across restarts, and a restarted process finds a dead one's address in it.
ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def worker_command(config: LaunchConfig, folder: Path, *, key: str, scratch: str) -> list[str]:
    """The command that runs the stage in `folder`. Machines of a group find each other by `key` (torchrun's rendezvous
    id); torchrun writes its own folders to `scratch`."""
    worker = ["-m", "idol_core.worker", str(folder)]
    if not config.grouped:
        return [sys.executable, *worker]
    meet = ["--standalone"]
    if config.endpoint:
        meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", config.endpoint, "--rdzv-id", key or folder.name]
    options = {
        "--nproc-per-node": config.gpus,
        "--nnodes": config.nodes,
        "--max-restarts": MAX_RESTARTS,
        "--monitor-interval": 0.5,
        "--signals-to-handle": SIGNALS,
        "--shutdown-timeout": SHUTDOWN_SECONDS,
        "--log-dir": scratch,
    }
    said = [str(part) for pair in options.items() for part in pair]
    return [sys.executable, "-m", "torch.distributed.run", *meet, *said, *config.torchrun, *worker]
