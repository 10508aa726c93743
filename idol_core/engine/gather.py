"""Collect the results of several processes through files, so that none waits in a collective for a slower one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from idol_core.engine.distributed import Group
from idol_core.errors import Preempted
from idol_core.system.files import write_json

POLL_SECONDS = 0.1


class Parts:
    """A folder to which each process writes its results as one file, for rank 0 to collect."""

    def __init__(self, folder: Path, group: Group) -> None:
        self._folder, self._group = folder, group

    def clear(self) -> None:
        """Remove the files of an earlier attempt; all processes wait until that is done."""
        if self._group.rank == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._group.barrier()

    def exchange(
        self, results: list[dict[str, Any]], *, should_stop: Callable[[], bool]
    ) -> list[dict[str, Any]] | None:
        """Return the results of all processes in rank 0, None in the others.

        Raises Preempted if `should_stop` says so while rank 0 waits.
        """
        if self._group.world == 1:
            return results
        if self._group.rank > 0:
            write_json(self._path(self._group.rank), results, indent=None)
            return None
        everything = list(results)
        for rank in range(1, self._group.world):
            while not self._path(rank).exists():
                if should_stop():
                    raise Preempted(f"stopped while waiting for the results of rank {rank}", where=str(self._folder))
                time.sleep(POLL_SECONDS)
            everything += json.loads(self._path(rank).read_text(encoding="utf-8"))
        shutil.rmtree(self._folder)
        return everything

    def _path(self, rank: int) -> Path:
        return self._folder / f"{rank}.json"
