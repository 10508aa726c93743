"""Slurm jobs of a run: which were submitted, and their state in the queue."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

from idol_core.engine.stage_files import text
from idol_core.system.files import read_array
from idolctl.runs.find import JOBS

ASK_SECONDS = 5
FIELDS = ("stage", "job", "cluster", "submitted")


def read_jobs(run: Path) -> list[dict[str, str]]:
    """Read a run's jobs.json: entries with stage, job, cluster, submitted; empty if it can't be read."""
    entries = read_array(run / JOBS)
    found = [{name: text(e.get(name)) for name in FIELDS} for e in entries if isinstance(e, dict)]
    return [entry for entry in found if entry["stage"] and entry["job"]]


def queue_state(entry: dict[str, str]) -> str | None:
    """Slurm's state of an entry's job; None if it is not a Slurm job, or is no longer in the queue."""
    return job_state(entry["job"]) if entry["cluster"] == "slurm" else None


def job_state(job: str) -> str | None:
    """Slurm's job state: pending, running, completing, ...; None without Slurm, or if the job is unknown or ended."""
    if not job or shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--format=%T", "--jobs", job]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
        return done.stdout.strip().lower() or None
    return None
