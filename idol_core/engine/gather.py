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
    """A folder with one file of results a process."""

    def __init__(self, folder: Path, group: Group) -> None:
        self._folder, self._group = folder, group

    def clear(self) -> None:
        """Remove what an earlier attempt left, before anybody writes."""
        if self._group.rank == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._group.barrier()

    def exchange(
        self, results: list[dict[str, Any]], *, should_stop: Callable[[], bool]
    ) -> list[dict[str, Any]] | None:
        """The results of all processes in the first one, None in the others. Raises Preempted."""
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
