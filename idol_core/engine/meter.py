"""Speed and memory of training since the last report."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Meter:
    """Measures speed, data wait and memory between two reports."""

    def __init__(self, start: int, device: torch.device) -> None:
        self._device = device
        self._reported, self._since, self._data_wait = start, time.perf_counter(), 0.0

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Count the time spent in this context as waiting for data."""
        started = time.perf_counter()
        yield
        self._data_wait += time.perf_counter() - started

    def report(self, done: int) -> dict[str, Any]:
        """Iteration, iterations per second, share of time spent waiting for data (0..1), and peak memory in MiB (of the
        device; on a CPU, of this process since its start)."""
        now = time.perf_counter()
        elapsed, count = now - self._since, done - self._reported
        values = {
            "iteration": done,
            "it_per_s": round(count / elapsed, 3),
            "data_wait": round(self._data_wait / elapsed, 4),
            "memory_mib": round(self._memory() / 2**20, 1),
        }
        self._reported, self._since, self._data_wait = done, now, 0.0
        return values

    def _memory(self) -> int:
        if self._device.type == "cuda":
            peak = int(torch.cuda.max_memory_allocated(self._device))
            torch.cuda.reset_peak_memory_stats(self._device)
            return peak
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
