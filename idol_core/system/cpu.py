"""Threads and memory of this process on the CPU. `configure_threads` must be called before torch is imported."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Number of cores this process may use: its affinity mask, limited by the cgroup's CPU quota if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def configure_threads(processes: int = 1) -> int:
    """Set the OpenMP variables that the user has not set; returns the number of threads of each of `processes`.

    One core is left free for the data loader and other work: a parallel region waits for its slowest thread.
    Workers sleep between parallel regions instead of spinning: a spinning worker that loses its core to another process
    holds up the whole region, which makes a small training step up to 20 times slower on a busy machine.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, (usable_cores() - 1) // processes))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return threads


# Parameters of glibc's mallopt(3). Blocks above M_MMAP_THRESHOLD (at most 32 MiB) are mapped directly by the system.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGEST_BYTES = 1 << 30, 32 << 20


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory, so that the system need not clear the same pages every step.

    Returns whether the C library supports this (glibc does).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl; macOS; Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))


def map_large_blocks() -> None:
    """Give blocks above 1 MiB back to the system as soon as they are freed, where the C library can (glibc).

    For processes whose peak of memory matters more than a few percent of time; the opposite of `keep_freed_memory`.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)


def return_freed_memory() -> None:
    """Give freed memory of this process back to the system, where the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
