"""Number of processes and machines that a stage runs on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idol_core.config import StageConfig
from idol_core.errors import InvalidInput
from idol_core.system.cpu import usable_cores

Launcher = Literal["local", "torchrun", "slurm"]
MOST_UNASKED = 4  # default limit of processes on a CPU


@dataclass(frozen=True)
class LaunchConfig:
    """`gpus` processes on each of `nodes` machines, which meet at `endpoint` (HOST:PORT)."""

    launcher: Launcher = "local"
    gpus: int = 1
    nodes: int = 1
    endpoint: str | None = None
    torchrun: tuple[str, ...] = ()  # extra arguments for torchrun
    partition: str | None = None  # Slurm partition
    time: str | None = None
    slurm: tuple[str, ...] = ()  # extra KEY=VALUE options for sbatch

    @property
    def world(self) -> int:
        """Total number of processes."""
        return self.gpus * self.nodes

    @property
    def grouped(self) -> bool:
        """Whether torchrun starts the processes."""
        return self.world > 1 or self.launcher == "torchrun" or bool(self.torchrun)

    def options(self) -> dict[str, object]:
        """The equivalent options of `idolctl run`; None for those at their defaults."""
        return {
            "--launcher": None if self.launcher == "local" else self.launcher,
            "--gpus": None if self.gpus == 1 else self.gpus,
            "--nodes": None if self.nodes == 1 else self.nodes,
            "--rdzv-endpoint": self.endpoint,
            "--partition": self.partition,
            "--time": self.time,
        }


def check_launch(config: LaunchConfig, configs: Iterable[StageConfig]) -> None:
    """Raise InvalidInput (exit 2) for impossible process counts, or if a stage's batch can't be split evenly."""
    if min(config.gpus, config.nodes) < 1:
        raise InvalidInput("at least one process is needed", where="--gpus, --nodes", fix="--gpus 1 --nodes 1")
    if config.nodes > 1 and config.launcher != "slurm" and not config.endpoint:
        fix = "--rdzv-endpoint HOST:PORT, the same on every machine, where HOST is one of them"
        raise InvalidInput(f"{config.nodes} machines need a rendezvous address", where="--nodes", fix=fix)
    if config.world == 1:
        return
    from idol_core.data.sampler import per_process  # brings numpy

    for stage in configs:
        per_process(stage.solver, config.world)


def processes_here(configs: Sequence[StageConfig]) -> int:
    """Number of processes that train these stages fastest on this machine alone.

    One with a GPU (more only on request), or if OMP_NUM_THREADS limits our share of the machine. On a CPU one per core,
    up to four, such that all batches divide evenly: a small model's operations gain little from a second thread, while
    half of the batch on each of two cores takes two thirds of the time.
    """
    if "OMP_NUM_THREADS" in os.environ or Path("/proc/driver/nvidia/gpus").is_dir():
        return 1
    return next(n for n in range(min(usable_cores(), MOST_UNASKED), 0, -1) if n == 1 or _divides(configs, n))


def _divides(configs: Sequence[StageConfig], processes: int) -> bool:
    try:
        check_launch(LaunchConfig(gpus=processes), configs)
    except InvalidInput:
        return False
    return True
