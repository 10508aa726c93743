"""State of a run's stages on disk, and the locks that keep out a second command."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from idol_core.engine.stage_files import (
    CHECKPOINTS,
    StageError,
    newest_iteration,
    read_order,
    read_status,
    text,
    whole,
    write_status,
)
from idol_core.errors import IdolError
from idol_core.system.files import read_object, write_json
from idolctl.terminal.text import printable

WEIGHTS, HOLDER = "weights.safetensors", ".holder.json"
CLASSES = "classes.json"  # class names of a stage by class index; there from the start of training
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class StageState:
    """State of a stage folder. `recorded` is the fingerprint its weights belong to, {} if it was never started."""

    folder: Path
    recorded: dict[str, Any] = field(default_factory=dict)
    status: str = ""  # starting, running, stopped, failed, done
    phase: str = ""
    iteration: int = 0  # of the newest checkpoint
    iterations: int = 0
    reached: int = 0  # iteration in state.json: below `iterations` after the end where training stopped early
    seconds: float = 0.0
    metrics: dict[str, float] | None = None
    error: StageError | None = None
    has_weights: bool = False

    @property
    def done(self) -> bool:
        """Trained and evaluated."""
        return self.status == "done" and self.has_weights

    @property
    def worth_keeping(self) -> bool:
        """Whether starting again would delete anything of value."""
        return self.has_weights or self.iteration > 0


def read_stage(folder: Path) -> StageState:
    """Read the state of a stage folder; empty if the folder or its files are missing or unreadable."""
    status = read_status(folder)
    return StageState(
        folder=folder,
        recorded=read_order(folder).fingerprint,
        status=status.status,
        phase=status.phase,
        iteration=newest_iteration(folder / CHECKPOINTS),
        iterations=status.iterations,
        reached=status.iteration,
        seconds=status.seconds,
        metrics=status.metrics,
        error=status.error,
        has_weights=(folder / WEIGHTS).is_file(),
    )


@dataclass(frozen=True)
class Holder:
    """The process that holds a run folder, and the rendezvous endpoint of its group of machines."""

    pid: int
    host: str
    since: str
    endpoint: str | None


class InUse(IdolError):
    """Another command holds the run folder."""


@contextmanager
def run_lock(folder: Path, *, endpoint: str | None = None) -> Iterator[None]:
    """Lock the run folder for this process. Raises InUse, naming the holder, if another process has it.

    `endpoint` is the rendezvous address of a group of machines: the first machine holds the lock for all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = read_holder(folder)
        by = f"process {who.pid} on {who.host} since {who.since}" if who else "another process"
        fix = "wait until it ends, or use another --name"
        raise InUse(f"the run folder is in use by {by}", where=str(folder), fix=fix) from error
    try:
        make_room(folder, files=(HOLDER, "environment.json"))
        me = Holder(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"), endpoint)
        write_json(holder, {**asdict(me), "argv": sys.argv})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def read_holder(folder: Path) -> Holder | None:
    """Read which process holds a run folder; None if none does or the file can't be read."""
    found = read_object(folder / HOLDER)
    pid, host = whole(found.get("pid")), text(found.get("host"))
    if not 0 < pid < 1 << 31 or not host:
        return None
    return Holder(pid, host, text(found.get("since"), "?"), text(found.get("endpoint")) or None)


def mark_starting(folder: Path) -> None:
    """Set state.json to "starting" and drop its old error, so that it is not taken for one of the new processes."""
    write_status(folder, replace(read_status(folder), status="starting", error=None))


def make_room(folder: Path, *, files: Sequence[str], folders: Sequence[str] = ()) -> None:
    """Rename what blocks the expected `files` (a folder or pipe of that name) or `folders` (a file of that name)."""
    odd = [folder / name for name in files if os.path.lexists(folder / name) and not (folder / name).is_file()]
    odd += [folder / name for name in folders if os.path.lexists(folder / name) and not (folder / name).is_dir()]
    for path in odd:
        tries = (path.with_name(f"{path.name}.odd{n or ''}") for n in range(1000))
        aside = next(free for free in tries if not os.path.lexists(free))
        path.rename(aside)
        print(printable(f"warning: {path} was in the way; it has been renamed to {aside.name}"), file=sys.stderr)


@contextmanager
def stage_lock(folder: Path, *, on_wait: str = "") -> Iterator[None]:
    """Lock a stage folder while its files are changed; a stopping worker gets time to write its checkpoint.

    Prints `on_wait` to stderr if it has to wait. Raises IdolError if the worker doesn't end.
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
            raise IdolError(what, where=str(folder), fix="wait until it ends, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def clear_stage(folder: Path) -> None:
    """Delete everything in a stage folder except its lock."""
    import shutil

    for path in folder.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
