"""Stage folders of a network that trains an iteration in some ten milliseconds, and their real worker processes."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from idol_core.config import CropConfig, DataConfig, DataSource, InputConfig, SolverConfig, StageConfig, stage_to_dict
from idolctl.launch.worker import ENVIRONMENT as LAUNCH
from tests.forked_python import fork_pythons
from tests.processes import forked
from tests.unit.data_sets import small_videos
from tests.unit.tiny import tiny_config

CHECKOUT = Path(__file__).resolve().parents[2]
INPUT = InputConfig(
    short_sides=(32, 48), max_size=64, crop=CropConfig(size=(24, 40), resize=(32, 48)), frame_range=3,
    test_short_side=96, test_max_size=128,
)  # fmt: skip
ENVIRONMENT = {
    **os.environ,
    **LAUNCH,
    "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path]),
    "OMP_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo",
}


def write_data(folder: Path) -> DataSource:
    """Three short videos, to learn from and to be scored on."""
    small_videos(folder)
    return DataSource(kind="vis", frames=str(folder / "frames"), annotations=str(folder / "instances.json"))


def stage_config(source: DataSource, *, workers: int = 0, step: int = 3, **solver: Any) -> StageConfig:
    """A stage of 12 iterations with a checkpoint after every second; two micro-batches of two pairs."""
    values = {
        "iterations": 12, "batch_size": 4, "micro_batches": 2, "milestones": (8,), "checkpoint_every": 2,
        "log_every": 1, "lr": 1e-3, "clip_norm": 1.0,
    }  # fmt: skip
    model = dataclasses.replace(tiny_config(num_classes=2, queries=10, hidden_dim=64), embedding=step > 1, dropout=0.1)
    return StageConfig(
        "test", "tiny", step, model=model, input=INPUT,
        data=DataConfig(train=source, val=source, workers=workers), solver=SolverConfig(**(values | solver)),
    )  # fmt: skip


def write_order(folder: Path, config: StageConfig, *, parent: Path | None = None) -> Path:
    """A stage folder that a worker can be started on; `parent`: the weights that it begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    start = None if parent is None else str(parent)
    order = {"key": "", "config": stage_to_dict(config), "parent": start, "root": str(folder), "outputs": False}
    (folder / "stage.json").write_text(json.dumps(order))
    return folder


def start(folder: Path, *launcher: str, **environment: str) -> subprocess.Popen[bytes]:
    """A worker process of its own session; `launcher` stands before its module, e.g. torchrun."""
    command = [sys.executable, "-m", *(launcher or ()), *(("-m",) if launcher else ()), "idol_core.worker", str(folder)]
    return subprocess.Popen(
        command, env=ENVIRONMENT | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
    )


def fork_group(
    folder: Path, ranks: int = 1, *, killed_by_file_of: int | None = None, **environment: str
) -> list[BaseProcess]:
    """Workers forked from a server that has imported everything: as `start`, without the seconds of importing.

    A process that writes a file of more than `killed_by_file_of` bytes is killed by the system in the middle of that.
    """
    return fork_ranks(ranks, _work, str(folder), killed_by_file_of, **environment)


def fork_ranks(ranks: int, work: Callable[..., None], *args: Any, **environment: str) -> list[BaseProcess]:
    """`work(*args)` in forked processes that find each other as those of torchrun do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    processes = []
    for rank in range(ranks):
        variables = {name: str(value) for name, value in {**place, "RANK": rank, "LOCAL_RANK": rank}.items()}
        processes.append(forked(work, *args, environment=ENVIRONMENT | variables | environment))
    return processes


def fork_launcher(folder: Path, *launcher: str) -> BaseProcess:
    """As `start`, forked, and so are the workers that the launcher starts and starts again."""
    return forked(_launch, [*launcher, "-m", "idol_core.worker", str(folder)], environment=ENVIRONMENT)


def finish_group(folder: Path, ranks: int = 1, **environment: str) -> list[int | None]:
    """Run forked workers to their end; their exit codes."""
    processes = fork_group(folder, ranks, **environment)
    for process in processes:
        process.join(900)
    return [process.exitcode for process in processes]


def _work(folder: str, killed_by_file_of: int | None) -> None:
    from idol_core import worker

    os.setpgid(0, 0)
    if killed_by_file_of is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python makes it an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (killed_by_file_of, killed_by_file_of))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(worker.main([folder]))


def _launch(words: list[str]) -> None:
    fork_pythons()
    os.execv(sys.executable, [sys.executable, "-m", *words])


def torchrun(ranks: int, *more: str) -> tuple[str, ...]:
    """The launcher of a group on this machine."""
    return ("torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *more)


def state(folder: Path) -> dict[str, Any]:
    """The stage's state.json, {} before there is one."""
    path = folder / "state.json"
    return json.loads(path.read_text()) if path.exists() else {}


def reports(folder: Path) -> list[dict[str, Any]]:
    """The training lines of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if "losses" in line]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl with this event."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line for line in whole if line.get("event") == name]


def weights(folder: Path) -> dict[str, Tensor]:
    """The stage's final weights."""
    return load_file(folder / "weights.safetensors")


def log(folder: Path) -> str:
    """All that the workers said."""
    return "".join(path.read_text() for path in sorted(folder.glob("logs/*")))


def newest(folder: Path) -> int:
    """The iteration of the newest checkpoint, 0 without one."""
    return max((int(path.stem) for path in folder.glob("checkpoints/[0-9]*.pt")), default=0)


def kill_worker(launcher: BaseProcess, *, rank: int) -> None:
    """kill -9 on one process of a group."""
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()  # oldest first
    os.kill(int(workers[rank]), signal.SIGKILL)
