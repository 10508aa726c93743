"""How many processes a stage runs on, on how many machines."""

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
MOST_UNASKED = 4  # processes that are started on a CPU without being asked for


@dataclass(frozen=True)
class LaunchConfig:
    """`gpus` processes on each of `nodes` machines, which meet at `endpoint` (HOST:PORT)."""

    launcher: Launcher = "local"
    gpus: int = 1
    nodes: int = 1
    endpoint: str | None = None
    torchrun: tuple[str, ...] = ()  # further arguments for it
    partition: str | None = None  # Slurm's
    time: str | None = None
    slurm: tuple[str, ...] = ()  # further KEY=VALUE for sbatch

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.gpus * self.nodes

    @property
    def grouped(self) -> bool:
        """Whether torchrun starts the processes."""
        return self.world > 1 or self.launcher == "torchrun" or bool(self.torchrun)

    def options(self) -> dict[str, object]:
        """The options of `idolctl run` that say so, None for those at their defaults."""
        return {
            "--launcher": None if self.launcher == "local" else self.launcher,
            "--gpus": None if self.gpus == 1 else self.gpus,
            "--nodes": None if self.nodes == 1 else self.nodes,
            "--rdzv-endpoint": self.endpoint,
            "--partition": self.partition,
            "--time": self.time,
        }


def check_launch(config: LaunchConfig, configs: Iterable[StageConfig]) -> None:
    """Raise InvalidInput (exit 2) for numbers that make no group, or that a stage's batch doesn't divide among."""
    if min(config.gpus, config.nodes) < 1:
        raise InvalidInput("a group has at least one process", where="--gpus, --nodes", fix="--gpus 1 --nodes 1")
    if config.nodes > 1 and config.launcher != "slurm" and not config.endpoint:
        fix = "--rdzv-endpoint HOST:PORT, the same on every machine, where HOST is one of them"
        raise InvalidInput(f"{config.nodes} machines need a place to meet", where="--nodes", fix=fix)
    if config.world == 1:
        return
    from idol_core.data.sampler import per_process  # brings numpy

    for stage in configs:
        per_process(stage.solver, config.world)


def processes_here(configs: Sequence[StageConfig]) -> int:
    """How many processes train these stages fastest on this machine alone.

    One where there is a GPU (several are asked for by number), or where OMP_NUM_THREADS says how much of the machine is
    ours. On a CPU as many as cores, up to four, that all batches divide among: a small model's operations gain little
    from a second thread, and half of the batch on each of two cores takes two thirds of the time.
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
