"""Time work on a device, within a budget of seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

MOST = 30  # repetitions


def warm_up(device: torch.device) -> int:
    """Runs before work takes its usual time."""
    return 3 if device.type == "cuda" else 1


def wait(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, budget: float, *, done: int = 0) -> float:
    """Median seconds of `work`, repeated until `budget` seconds are spent; at least once after `warm_up` runs.

    `done`: how often it has run before.
    """
    for _ in range(warm_up(device) - done):
        work()
    spent: list[float] = []
    while not spent or (sum(spent) < budget and len(spent) < MOST):
        spent.append(once(work, device))
    return statistics.median(spent)


def once(work: Callable[[], object], device: torch.device, *, before: Callable[[], object] | None = None) -> float:
    """Seconds of one run of `work`; on a GPU by its own clock.

    `before` is not counted. If it keeps a GPU busy until the host has launched `work`, the time is the GPU's alone.
    """
    wait(device)
    if before is not None:
        before()
    if device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Context manager: a function that gives the most MiB of a GPU in use since the context began; None on a CPU."""
    if device.type != "cuda":
        yield lambda: None
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    yield lambda: torch.cuda.max_memory_allocated(device) / 2**20
