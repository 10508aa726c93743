"""The process group of a stage: rank, world size and device from torchrun's environment, and collectives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from idol_core.errors import IdolError

PATIENCE = timedelta(hours=1)  # the others wait in a collective while rank 0 scores an evaluation


class PeerLost(IdolError):
    """Another process of the group ended; the group can resume from the last checkpoint."""


@dataclass(frozen=True)
class Group:
    """The process group as this process sees it. `device` is the CUDA device of the local rank, or the CPU."""

    rank: int
    world: int
    device: torch.device

    def mean(self, value: Tensor) -> Tensor:
        """Mean of `value` over the processes, without gradient."""
        if self.world == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.world

    def largest(self, *values: int) -> tuple[int, ...]:
        """The largest of each of `values` over the processes. Exchanged by the CPUs: no process waits for its GPU."""
        if self.world == 1:
            return values
        found = torch.tensor(values)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return tuple(found.tolist())

    def any(self, flag: bool) -> bool:
        """True where the flag is set on any process."""
        return bool(self.largest(int(flag))[0])

    def gather(self, value: Any) -> list[Any]:
        """`value` of every process (any object that can be pickled), by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        self.largest(0)


def place_in_group() -> tuple[int, int]:
    """(rank, world size) from torchrun's environment; (0, 1) for a single process."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join_group() -> Group:
    """Join the process group that torchrun's environment describes; a group of one without torchrun."""
    rank, world = place_in_group()
    local = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local % torch.cuda.device_count()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world > 1:
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        except RuntimeError as error:  # a peer that ended while it was starting, as after a restart
            fix = "run the same command again to continue from the last checkpoint"
            what = f"the processes of the group could not connect: {error}"
            raise PeerLost(what, where=f"rank {rank} of {world}", fix=fix) from error
    return Group(rank, world, device)


def leave_group() -> None:
    """Shut the process group down after success; a failed process just exits, as its peers may never answer."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def is_peer_loss(error: BaseException) -> bool:
    """Whether `error` comes from a collective that failed because another process ended."""
    if not isinstance(error, RuntimeError) or not (dist.is_available() and dist.is_initialized()):
        return False
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text or "closed by peer" in text


def backends() -> list[str]:
    """Communication backends that this torch has (nccl, gloo)."""
    if not dist.is_available():
        return []
    there = {"gloo": dist.is_gloo_available, "nccl": dist.is_nccl_available, "mpi": dist.is_mpi_available}
    return [name for name, is_there in there.items() if is_there()]
