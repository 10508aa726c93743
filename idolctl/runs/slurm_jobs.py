"""The jobs of a run that were given to Slurm, and what Slurm says of them now."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from idolctl.runs.find import JOBS

ASK_SECONDS = 5


def read_jobs(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's jobs.json: stage, job, cluster, submitted; none where the file can't be read."""
    with contextlib.suppress(OSError, ValueError):
        return list(json.loads((run / JOBS).read_text(encoding="utf-8")))
    return []


def queue_state(entry: dict[str, Any]) -> str | None:
    """Slurm's word for the job of an entry; None for one that is not Slurm's, or that it has no more."""
    return job_state(str(entry["job"])) if entry.get("cluster") == "slurm" else None


def job_state(job: str) -> str | None:
    """pending, running, completing, ...; None where no Slurm knows the job, or it has ended."""
    if not job or shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--format=%T", "--jobs", job]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
        return done.stdout.strip().lower() or None
    return None
