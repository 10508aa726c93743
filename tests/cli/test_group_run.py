"""`idolctl run` in several processes and on several machines (two launchers on this one)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
import torch

from idol_core.config import SolverConfig, StageConfig
from idol_core.errors import InvalidInput
from idol_core.system.cpu import usable_cores
from idolctl.launch.slurm import StageCommand, minutes, submit
from idolctl.runs.processes import LaunchConfig, processes_here
from idolctl.runs.run import RunRequest, make_run
from tests.cli.conftest import CHECKOUT, blocks
from tests.cli.mini import make_mini
from tests.e2e.stages import ENVIRONMENT, newest, state
from tests.forked_python import fork_pythons
from tests.processes import Started, forked

# submitit sets up logging when it is imported, and closes all handlers that are there: also absl's, which the tests of
# exports bring, with the stderr that pytest records. So it comes first.
with contextlib.suppress(ImportError):
    import submitit  # noqa: F401

FAST = ("--steps", "1", "--set", "solver.iterations=4", "--set", "solver.batch_size=4")


def break_optimizer():
    """A step of PyTorch's optimizer fails in this process and in what it forks."""

    def step(*_, **__):
        raise RuntimeError("nobody foresaw\nthis")

    torch.optim.AdamW.step = step


@pytest.fixture
def home(tmp_path):
    make_mini(tmp_path)
    return tmp_path


def start(home, *args, unset=(), before=None, **variables):
    environment = {k: v for k, v in ENVIRONMENT.items() if k not in unset} | {"PYTHONPATH": str(CHECKOUT), **variables}
    return Started(["run", "mini.yaml", *args], home, environment, before=before)


def test_two_machines_are_two_launchers(home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    options = (*FAST, "--nodes", 2, "--gpus", 1, "--rdzv-endpoint", endpoint)
    machines = [start(home, *options) for _ in range(2)]
    ended = [machine.communicate(timeout=900) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], ended
    assert sum("joining" in stderr for _, stderr in ended) == 1
    stage = home / "runs" / "mini-tiny" / "1"
    assert json.loads((stage / "state.json").read_text())["status"] == "done"
    assert {p.name for p in (stage / "logs").glob("rank*")} == {"rank0.log", "rank1.log"}


@pytest.mark.skipif(Path("/proc/driver/nvidia/gpus").is_dir(), reason="this machine has a GPU: one process unasked")
def test_without_a_gpu_the_cores_share_the_batch(home, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    of_three = StageConfig("mini", "tiny", 1, solver=SolverConfig(batch_size=3))
    assert processes_here([of_three]) == (3 if usable_cores() >= 3 else 1)
    options = ("--steps", "1", "--set", "solver.iterations=2", "--set", "solver.batch_size=4")
    (scratch := home / "scratch").mkdir()
    process = start(home, *options, unset=("OMP_NUM_THREADS",), TMPDIR=str(scratch))
    assert process.wait(timeout=600) == 0, process.communicate()
    wanted = next(n for n in (4, 2, 1) if n <= usable_cores())
    logs = home / "runs" / "mini-tiny" / "1" / "logs"
    assert {p.name for p in logs.glob("rank*")} == {f"rank{i}.log" for i in range(wanted)}
    left = [p.name for p in scratch.iterdir() if not p.name.startswith("torchinductor_")]  # one for all runs
    assert not left


def test_a_stopped_group_is_75_and_a_traceback_is_shown_once(home):
    """Slurm's warning reaches all through torchrun; then a step of PyTorch's optimiser fails in all of them."""
    options = ("--steps", "1", "--gpus", 2, "--set", "solver.batch_size=4", "--set", "solver.iterations=3000")
    process = start(home, *options)
    stage = home / "runs" / "mini-tiny" / "1"
    metrics = stage / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 75
    assert "--gpus 2" in blocks(stderr)[-1]["fix"]
    assert state(stage)["status"] == "stopped"
    assert 1 <= newest(stage) == state(stage)["iteration"] < 3000

    broken = start(home, *options, "--", "--max-restarts", "0", before=break_optimizer)
    _, stderr = broken.communicate(timeout=900)
    assert broken.returncode == 1
    assert stderr.count("Traceback") == 1
    assert re.search(r"^\[rank [01]\] Traceback", stderr, re.MULTILINE)
    (told,) = blocks(stderr)
    assert re.match(r"rank [01]: RuntimeError: nobody foresaw this", told["error"])


def test_a_batch_that_does_not_divide_is_refused(home, idolctl):
    refused = idolctl("run", "mini.yaml", "--gpus", "3", cwd=home)
    assert refused.returncode == 2
    assert "divided" in blocks(refused.stderr)[0]["error"]
    assert not (home / "runs").exists()
    assert idolctl("run", "mini.yaml", "--gpus", "2", "--nodes", "2", cwd=home).returncode == 2
    assert idolctl("run", "mini.yaml", "stray", cwd=home).returncode == 2


def test_arguments_after_the_double_dash_go_to_torchrun():
    from pathlib import Path

    from idolctl.launch.worker import worker_command

    command = worker_command(
        LaunchConfig(gpus=2, torchrun=("--max-restarts", "0")), Path("stage"), key="k", scratch="aside"
    )
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert command.index("0") > command.index("3")  # the last one counts
    assert command[-3:] == ["-m", "idol_core.worker", "stage"]
    assert worker_command(LaunchConfig(), Path("stage"), key="", scratch="aside")[1:] == [
        "-m",
        "idol_core.worker",
        "stage",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("90", 90), ("12:30", 13), ("12:00:00", 720), ("2-00:00:00", 2880), ("1-12", 2160), ("1-01:30", 1530)],
)
def test_time_limits_as_slurm_writes_them(text, wanted):
    assert minutes(text) == wanted


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "0"])
def test_other_time_limits_are_refused(text):
    with pytest.raises(InvalidInput):
        minutes(text)


def test_jobs_run_the_stages_in_order(home):
    """Through submitit's executor for machines without Slurm: one job a step, each with the steps before it."""
    process = forked(submit_two_steps, home, environment=ENVIRONMENT)
    process.join(900)
    assert process.exitcode == 0


def submit_two_steps(home):
    """What it says, in a process of its own, because its jobs are then forked."""
    fork_pythons()
    os.chdir(home)
    launch = LaunchConfig("slurm", time="10", slurm=("gpus_per_node=0",))
    job = make_run(RunRequest("mini.yaml", steps="1,2", launch=launch))
    entries = submit(job, cluster="local")
    assert [entry["stage"] for entry in entries] == ["1", "1-2"]
    assert json.loads((job.folder / "jobs.json").read_text()) == entries
    assert [job.state(stage).status for stage in job.stages] == ["done", "done"]
    assert submit(job, cluster="local") == []


def test_without_slurm_it_says_so(home, idolctl):
    refused = idolctl("run", "mini.yaml", "--launcher", "slurm", cwd=home, PATH="/nowhere")
    assert refused.returncode == 3
    assert "sbatch" in blocks(refused.stderr)[0]["error"]


def test_a_job_that_is_preempted_lets_its_stage_stop(home):
    """submitit calls `checkpoint` from a signal handler while the job waits for its command."""
    arguments = ["run", "mini.yaml", "--steps", "1", "--set", "solver.iterations=3000"]
    job = forked(run_job, home, arguments, environment=ENVIRONMENT)
    metrics = home / "runs" / "mini-tiny" / "1" / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 2:
        assert job.is_alive()
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGUSR2)
    job.join(600)
    first, then = (home / "said").read_text().splitlines()
    assert first == "checkpointed"
    assert "exit code 75" in then
    assert StageCommand(arguments, nodes=1).checkpoint().function.arguments == arguments


def run_job(home, arguments):
    """Run the command of a job; SIGUSR2 is Slurm's warning."""
    fork_pythons()
    os.chdir(home)
    command = StageCommand(arguments, nodes=1)
    with open("said", "w") as said:

        def preempted(*_):
            command.checkpoint()
            print("checkpointed", file=said)

        signal.signal(signal.SIGUSR2, preempted)
        try:
            command()
        except RuntimeError as error:
            print(error, file=said)
