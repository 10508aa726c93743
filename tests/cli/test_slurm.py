"""Stages as jobs of a real Slurm: its controller and its daemon on this machine, where they are installed."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.conftest import blocks
from tests.cli.mini import make_mini
from tests.e2e.stages import ENVIRONMENT, reports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
ABSENT = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"no Slurm is installed here: {', '.join(ABSENT)} not found")

# Two partitions of one node of two cores; a job of `high` takes the place of one of `low`, which gets 30 s to end.
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
MpiDefault=none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


def free_ports(count):
    with ExitStack() as probes:
        found = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in found:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in found]


@pytest.fixture
def slurm(monkeypatch):
    """A cluster of one node for the length of a test; its environment."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as running:  # sockets have short names
        folder, user = Path(name), getpass.getuser()
        folder.chmod(0o711)
        for part in ("munge", "state", "spool"):
            (folder / part).mkdir(mode=0o711)
        host, ports = socket.gethostname().split(".")[0], free_ports(2)
        conf = CONFIGURATION.format(host=host, user=user, folder=folder, ports=ports)
        (folder / "slurm.conf").write_text(conf)
        (folder / "munge" / "key").write_bytes(os.urandom(1024))
        (folder / "munge" / "key").chmod(0o400)
        monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder}/munge/{file}" for option, file in files.items()]

        def start(*command):
            log = running.enter_context(open(folder / f"{command[0]}.log", "wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            running.callback(process.wait)
            running.callback(process.terminate)

        start("munged", "--foreground", "--force", *munge)
        wait_for((folder / "munge" / "socket").exists)
        start("slurmctld", "-D")
        start("slurmd", "-D")
        wait_for(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"))
        yield
        said("scancel", "--user", user)
        wait_for(lambda: not said("squeue", "--noheader"))


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def wait_for(ready, seconds=1800):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, said("squeue", "--long")
        time.sleep(0.1)


def test_a_chain_of_jobs_outlives_time_limits_and_preemption(slurm, tmp_path):
    make_mini(tmp_path)
    environment = {**ENVIRONMENT, **{name: os.environ[name] for name in ("PATH", "SLURM_CONF")}}
    run = tmp_path / "runs" / "mini-tiny"
    settings = [f"--set={s}" for s in ("steps.1.solver.iterations=100", "solver.checkpoint_every=1000")]
    settings.append("--set=data.workers=1")  # SIGTERM goes to the loader's process too
    ask = ("--launcher", "slurm", "--partition", "low", "--time", "30", "--slurm", "gpus_per_node=0")

    def idolctl(*arguments):
        command = [sys.executable, "-m", "idolctl", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    def state_of(job):
        return said("squeue", "--noheader", "--format=%T", "--jobs", job).strip()

    def status():
        found = json.loads(idolctl("status", "mini-tiny", "--json").stdout)["stages"]
        return {stage["stage"]: (stage["job"], stage["status"]) for stage in found}

    def trained(more_than):
        return lambda: len(reports(run / "1")) > more_than and state_of(first) == "RUNNING"

    submitted = idolctl("run", "mini.yaml", "--steps", "1,2", *ask, *settings, "--json")
    assert submitted.returncode == 0, submitted.stderr
    jobs = json.loads(submitted.stdout)["jobs"]
    assert [job["stage"] for job in jobs] == ["1", "1-2"]
    first, second = (job["job"] for job in jobs)
    assert f"Dependency=afterok:{first}" in said("scontrol", "show", "job", second)

    wait_for(trained(2))
    assert status() == {"1": (first, "running"), "1-2": (second, "pending")}
    again = idolctl("run", "mini.yaml", "--steps", "1,2", *ask, *settings)
    assert again.returncode == 1
    assert f"{first} {second}" in blocks(again.stderr)[0]["error"]

    said("scancel", "--signal=USR2", first)  # as Slurm does before the time limit
    wait_for(lambda: state_of(first) == "PENDING")
    reached = json.loads((run / "1" / "state.json").read_text())["iteration"]
    assert reached > 0
    assert status()["1"] == (first, "pending")

    wait_for(trained(reached + 1))
    said("sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: state_of(first) == "PENDING")

    wait_for(lambda: not state_of(second))
    assert status() == {"1": (first, "done"), "1-2": (second, "done")}
    assert [line["iteration"] for line in reports(run / "1")] == list(range(1, 101))
    assert said("scontrol", "show", "job", first).count("Restarts=2") == 1
