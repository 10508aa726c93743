"""The command line as a user meets it: a process with its own folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from idolctl.app import main
from tests.processes import run_idolctl

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def idolctl(tmp_path):
    """Run `idolctl ARGS` in an empty folder; returns the finished process with its texts."""

    def run(*args: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(p for p in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if p)
        own = {"PYTHONPATH": paths, "IDOLCTL_CACHE": str(tmp_path / "cache")}
        return run_idolctl(*args, cwd=cwd, environment=os.environ | own | environment)

    return run


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run `idolctl ARGS` in this process and an empty folder, its data root `root`; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

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
