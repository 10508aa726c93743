"""Record in `state.json` why a stage failed: once, by the process that failed first."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from pathlib import Path

import torch

from idol_core.engine.distributed import PeerLost, is_peer_loss, place_in_group
from idol_core.engine.feed import LoaderLost, lost_loader
from idol_core.engine.journal import Journal
from idol_core.engine.stage_files import StageError, newest_iteration, read_status
from idol_core.errors import IdolError, Preempted

WAIT_SECONDS = 1.0  # time given to a lost peer to record its own error, which explains more than its loss
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)


def report_failure(folder: Path, error: Exception) -> IdolError:
    """Write the reason of a failure to state.json, if the disk allows it; returns the error to report.

    If another process of the group has already recorded its reason, nothing is written and that one is returned,
    unless `error` is Preempted.
    """
    known = _translated(error, folder)
    if not isinstance(known, Preempted | PeerLost | LoaderLost):
        traceback.print_exception(error)
    told = _told_by_another(folder, patient=isinstance(known, PeerLost))
    if told is not None and not isinstance(known, Preempted):
        return told
    state = read_status(folder)
    try:
        journal = Journal(folder, iterations=state.iterations)
        journal.state(
            "stopped" if isinstance(known, Preempted) else "failed",
            phase=state.phase or "train",
            iteration=newest_iteration(folder / "checkpoints"),
            error=_told(known, error),
        )
    except OSError:
        print(f"state.json of {folder} could not be written", file=sys.stderr)
    return known


def _told_by_another(folder: Path, *, patient: bool) -> IdolError | None:
    """The error that another process of the group has recorded since the stage started; None if there is none.

    `patient`: wait up to WAIT_SECONDS for one.
    """
    deadline = time.monotonic() + (WAIT_SECONDS if patient else 0.0)
    while place_in_group()[1] > 1:
        state = read_status(folder)
        if state.status == "stopped":
            return Preempted("stopped by another process", where=str(folder))
        if state.status == "failed" and state.error:
            told = IdolError(state.error.what, where=state.error.where, fix=state.error.fix)
            told.exit_code = state.error.exit_code
            return told
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    return None


def _translated(error: Exception, folder: Path) -> IdolError:
    rank, world = place_in_group()
    if isinstance(error, IdolError):
        return error
    if is_peer_loss(error):
        what = f"rank {rank} lost the connection to another process of its group"
        fix = "run the same command again to continue from the last checkpoint"
        return PeerLost(what, where=str(folder / "logs"), fix=fix)
    if (lost := lost_loader(error, where=str(folder / "logs"))) is not None:
        return lost
    if isinstance(error, OSError) and error.errno in _FULL:
        what = f"writing below {folder} failed: {os.strerror(error.errno)}"
        return IdolError(what, where=str(error.filename or folder), fix="make room (or --runs-dir DIR) and run again")
    if isinstance(error, torch.OutOfMemoryError):
        fix = "raise solver.micro_batches or lower input sizes, and run again"
        return IdolError(f"the device ran out of memory: {error}", where=str(folder), fix=fix)
    name = f"rank {rank}: {type(error).__name__}" if world > 1 else type(error).__name__
    log = folder / "logs" / f"rank{rank}.log"
    text = " ".join(str(error).split())  # one line, however many the error has
    return IdolError(f"{name}: {text}", where=str(log), fix="read the traceback in the log")


def _told(known: IdolError, error: Exception) -> StageError:
    """The error as state.json holds it; with a traceback only if the error was unexpected."""
    lost = isinstance(known, PeerLost | LoaderLost)
    return StageError(
        what=known.what,
        where=known.where,
        fix=known.fix,
        exit_code=known.exit_code,
        rank=place_in_group()[0],
        final=known is error and not lost,
        traceback=None if known is error or lost else "".join(traceback.format_exception(error)),
    )
