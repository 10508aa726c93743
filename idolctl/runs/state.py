"""What is on disk of a run: the state of its stages, and the lock that keeps a second command out."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from idol_core.errors import IdolError
from idol_core.system.files import write_json

WEIGHTS = "weights.safetensors"
CLASSES = "classes.json"  # the names of a stage's classes by class index, also while it trains
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class StageState:
    """A stage folder as found. `recorded` is the identity its weights belong to, {} where nothing was started."""

    folder: Path
    recorded: dict[str, Any] = field(default_factory=dict)
    status: str = ""  # starting, running, stopped, failed, done
    phase: str = ""
    iteration: int = 0  # of the newest checkpoint
    iterations: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] | None = None
    error: dict[str, Any] | None = None
    has_weights: bool = False

    @property
    def done(self) -> bool:
        """Trained and evaluated."""
        return self.status == "done" and self.has_weights

    @property
    def worth_keeping(self) -> bool:
        """Whether there is anything that a new start would destroy."""
        return self.has_weights or self.iteration > 0


def read_stage(folder: Path) -> StageState:
    """The state of a stage folder; an empty one where the folder or its files are missing or cut short."""
    order, state = _read(folder / "stage.json"), _read(folder / "state.json")
    checkpoints = [int(p.stem) for p in folder.glob("checkpoints/*.pt") if p.stem.isdigit()]
    return StageState(
        folder=folder,
        recorded=order.get("identity") or {},
        status=str(state.get("status", "")),
        phase=str(state.get("phase", "")),
        iteration=max(checkpoints, default=0),
        iterations=int(state.get("iterations", 0)),
        seconds=float(state.get("seconds", 0.0)),
        metrics=state.get("metrics"),
        error=state.get("error"),
        has_weights=(folder / WEIGHTS).is_file(),
    )


class InUse(IdolError):
    """Another command holds the run folder."""


@contextmanager
def run_lock(folder: Path, *, endpoint: str | None = None) -> Iterator[None]:
    """Hold the run folder for this process. InUse, saying who holds it, if another one does.

    `endpoint` is where the machines of a group meet: the first one there holds the folder for all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".holder.json"
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = read_holder(folder)
        by = f"process {who['pid']} on {who['host']} since {who['since']}" if who else "another process"
        fix = "wait until it ends, or use another --name"
        raise InUse(f"the run folder is in use by {by}", where=str(folder), fix=fix) from error
    try:
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        write_json(holder, {**who, "argv": sys.argv, "endpoint": endpoint})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def read_holder(folder: Path) -> dict[str, Any]:
    """Who runs in a run folder, as far as it is written: pid, host, since, argv, endpoint; {} if nobody does."""
    return _read(folder / ".holder.json")


def read_key(folder: Path) -> str:
    """The key of a stage folder's order, '' where there is none."""
    return str(_read(folder / "stage.json").get("key", ""))


def mark_starting(folder: Path) -> None:
    """Say in state.json that processes are being started, so that nothing in it is taken for theirs."""
    write_json(folder / "state.json", {**_read(folder / "state.json"), "status": "starting", "error": None})


@contextmanager
def stage_lock(folder: Path, *, on_wait: str = "") -> Iterator[None]:
    """Hold a stage folder while its files are put in order; a worker that was told to stop gets time to write.

    Says `on_wait` on stderr if it has to wait. Raises IdolError if the worker doesn't end.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        print(on_wait or f"waiting for the worker that still writes in {folder}", file=sys.stderr)
        try:
            lock.acquire(timeout=SETTLE_SECONDS)
        except Timeout as error:
            what = "a worker is still running this stage"
            raise IdolError(what, where=str(folder), fix="wait until it ends, or end it") from error
    try:
        yield
    finally:
        lock.release()


def clear_stage(folder: Path) -> None:
    """Remove all that a stage left, except its lock."""
    import shutil

    for path in folder.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return {}
