"""Submit the stages of a run as Slurm jobs (through submitit), each waiting for the one before."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from idol_core.errors import IdolError, InvalidInput, Missing, Preempted
from idol_core.system.files import write_json
from idolctl.runs.find import JOBS
from idolctl.runs.run import Run
from idolctl.runs.slurm_jobs import job_state, queue_state, read_jobs
from idolctl.runs.stages import Stage
from idolctl.runs.state import InUse
from idolctl.terminal.table import table

DEFAULT_MINUTES = 24 * 60
WARNING_SECONDS = 180  # Slurm signals this long before the time limit, for the last checkpoint
MOST_TIMEOUTS = 1000  # requeue as often as needed; submitit's default is three times
FIRST_PORT, PORTS = 20000, 20000


class StageCommand:
    """The job's task: `idolctl run` up to its stage. submitit pickles it and calls `checkpoint` on preemption."""

    def __init__(self, arguments: list[str], *, nodes: int, torchrun: tuple[str, ...] = ()) -> None:
        self.arguments, self.nodes, self.torchrun = arguments, nodes, torchrun
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run the command. Raises RuntimeError if it fails; machines other than the first return when preempted."""
        command = [sys.executable, "-m", "idolctl", *self.arguments, *self._meeting_place()]
        command += ["--", *self.torchrun] if self.torchrun else []
        # Slurm sends its warning to every process of the job; only submitit's process can handle it.
        before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self._process = subprocess.Popen(command)
        signal.signal(signal.SIGUSR2, before)
        code = self._process.wait()
        if code == Preempted.exit_code:
            if os.environ.get("SLURM_PROCID", "0") != "0":
                return
            if job_state(os.environ.get("SLURM_JOB_ID", "")) == "running":  # so in the grace period of a preemption
                signal.raise_signal(signal.SIGUSR2)  # submitit requeues the job and exits
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with exit code {code}")

    def checkpoint(self) -> Any:
        """Let the stage write its checkpoint; return the same command, which resumes when the job is requeued."""
        import submitit

        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
            # submitit calls this from a signal handler that interrupts the `wait` above, which holds Popen's lock.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        again = StageCommand(self.arguments, nodes=self.nodes, torchrun=self.torchrun)
        return submitit.helpers.DelayedSubmission(again)

    def _meeting_place(self) -> list[str]:
        if self.nodes == 1:
            return []
        import submitit

        environment = submitit.JobEnvironment()
        port = FIRST_PORT + int("".join(c for c in environment.job_id if c.isdigit()) or 0) % PORTS
        return ["--rdzv-endpoint", f"{environment.hostnames[0]}:{port}"]


def submit(run: Run, *, cluster: str = "slurm") -> list[dict[str, str]]:
    """Submit a job for every stage with work left; return their entries in the run's `jobs.json`.

    `cluster` is submitit's name of it: slurm, or local or debug, which run the jobs on this machine.
    """
    from idolctl.launch.execute import prepared

    _refuse_queued(run)
    with prepared(run) as actions:
        left = [action.stage for action in actions if action.kind != "skip"]
    earlier = [e for e in read_jobs(run.folder) if e["stage"] not in {stage.chain for stage in left}]
    executor = _executor(run, cluster)  # outside the folder's lock, which the first job may need at once
    entries: list[dict[str, str]] = []
    for stage in left:
        _set_parameters(executor, run, stage, after=entries[-1]["job"] if entries else None)
        try:
            submitted = executor.submit(_command(run, stage))
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            text = " ".join(str(error).split())
            raise IdolError(f"sbatch refused the job: {text}", where="Slurm", fix="see sinfo and squeue") from error
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        entries.append({"stage": stage.chain, "job": submitted.job_id, "cluster": cluster, "submitted": now})
        write_json(run.folder / JOBS, [*earlier, *entries])
        if cluster != "slurm":  # local and debug have no job dependencies: wait
            submitted.result()
    return entries


def _refuse_queued(run: Run) -> None:
    """Raise InUse (exit 1) while these stages have jobs in Slurm: new jobs would write to the same folders."""
    chains = {stage.chain for stage in run.stages}
    queued = [e["job"] for e in read_jobs(run.folder) if e["stage"] in chains and queue_state(e)]
    if queued:
        what = f"jobs of these steps are still queued or running: {' '.join(queued)}"
        raise InUse(what, where=str(run.folder / JOBS), fix=f"idolctl status; scancel {' '.join(queued)} ends them")


def print_jobs(entries: list[dict[str, str]], folder: Path, as_json: bool) -> None:
    """Print which jobs were submitted, and where their logs are."""
    if as_json:
        print(json.dumps({"jobs": entries}))
    elif not entries:
        print("nothing to do: every step is done with these settings")
    else:
        print(table(("stage", "job", "submitted"), [(e["stage"], e["job"], e["submitted"]) for e in entries]))
        print(f"\njob logs: {folder / 'slurm'}\nNext: idolctl status, squeue --me")


def minutes(text: str) -> int:
    """Parse a Slurm time limit to minutes: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS."""
    days, dash, rest = text.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if dash:
            seconds = int(days) * 86400 + sum(p * s for p, s in zip(parts, (3600, 60, 1), strict=False))
        else:
            seconds = sum(
                p * s for p, s in zip(parts, {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}[len(parts)], strict=True)
            )
    except (ValueError, KeyError):
        seconds = 0
    if seconds <= 0:
        raise InvalidInput(f"'{text}' is not a time limit", where="--time", fix="--time 90, 12:00:00 or 2-00:00:00")
    return -(-seconds // 60)


def _command(run: Run, stage: Stage) -> StageCommand:
    """The `idolctl run` command of the steps up to `stage`; earlier ones are done by then."""
    steps = ",".join(str(s.step) for s in run.stages[: run.stages.index(stage) + 1])
    launch = run.request.launch
    here = dataclasses.replace(
        launch, launcher="torchrun" if launch.world > 1 else "local", partition=None, time=None, slurm=(), torchrun=()
    )
    request = dataclasses.replace(
        run.request, steps=steps, name=run.folder.name, runs=run.folder.parent.resolve(), root=run.root.resolve(),
        launch=here,
    )  # fmt: skip
    return StageCommand(request.arguments(), nodes=launch.nodes, torchrun=launch.torchrun)


def _executor(run: Run, cluster: str) -> Any:
    try:
        import submitit
    except ImportError:
        raise Missing(
            "submitit is not installed", where="--launcher slurm", fix="pip install 'idolctl[slurm]'"
        ) from None
    import shutil

    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise Missing("sbatch not found", where="--launcher slurm", fix="run this on a machine of the Slurm cluster")
    return submitit.AutoExecutor(folder=_logs(run.folder), cluster=cluster, slurm_max_num_timeout=MOST_TIMEOUTS)


def _logs(folder: Path) -> Path:
    return folder.resolve() / "slurm" / "%j"


def _set_parameters(executor: Any, run: Run, stage: Stage, *, after: str | None) -> None:
    launch = run.request.launch
    own: dict[str, Any] = dict(_pair(text) for text in launch.slurm)
    gpus = int(own.pop("gpus_per_node", launch.gpus))
    cpus = int(own.pop("cpus_per_task", launch.gpus * (1 + stage.config.data.workers)))
    executor.update_parameters(
        name=f"{run.folder.name}-{stage.chain}",
        timeout_min=minutes(launch.time) if launch.time else DEFAULT_MINUTES,
        nodes=launch.nodes,
        tasks_per_node=1,
        cpus_per_task=cpus,
        **({"gpus_per_node": gpus} if gpus else {}),
        slurm_signal_delay_s=WARNING_SECONDS,
        **({"slurm_partition": launch.partition} if launch.partition else {}),
        slurm_additional_parameters={
            "requeue": True,
            **({"dependency": f"afterok:{after}", "kill_on_invalid_dep": "yes"} if after else {}),
            **own,
        },
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"'{text}' is not KEY=VALUE", where="--slurm", fix="--slurm account=NAME")
    return key.strip("-").replace("-", "_"), value
