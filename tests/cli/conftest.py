"""The command line as a user meets it: a process with its own folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def idolctl(tmp_path):
    """Run `idolctl ARGS` in an empty folder; returns the finished process with its texts."""

    def run(*args: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(p for p in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if p)
        env = os.environ | {"PYTHONPATH": paths, "IDOLCTL_CACHE": str(tmp_path / "cache")} | environment
        command = [sys.executable, "-m", "idolctl", *map(str, args)]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)

    return run


def blocks(stderr: str) -> list[dict[str, str]]:
    """The three-line errors of a process."""
    found: list[dict[str, str]] = []
    for line in stderr.splitlines():
        key, _, text = line.partition(": ")
        if key == "error":
            found.append({})
        if key in ("error", "where", "fix") and found:
            found[-1][key] = text
    return found
