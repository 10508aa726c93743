"""Threads and memory of this process on the CPU. `configure_threads` must be called before torch is imported."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may use: its affinity mask, cut by the cgroup's CPU quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def configure_threads(processes: int = 1) -> int:
    """Set the OpenMP variables that the user has not set; returns the threads of each of `processes` on this machine.

    One core is left to the loader and to everything else: a parallel region waits for its slowest thread.
    Workers sleep between parallel regions instead of spinning: a spinning worker that loses its core to another process
    holds up the whole region, which makes a small training step up to 20 times slower on a busy machine.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (usable_cores() - 1) // processes))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return threads


# Of glibc's mallopt(3). Beyond the second limit blocks come straight from the system, 32 MiB is the most it takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGEST_BYTES = 1 << 30, 32 << 20


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory instead of having the system clear the same pages every step;
    returns whether the C library knows how (glibc does).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl; macOS; Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
