"""Record what a run was made with: versions, machine, git commit. Imports none of the packages it describes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "pycocotools", "pillow", "simplejpeg", "av", "pydantic", "typer")


def describe_environment() -> dict[str, Any]:
    """JSON-ready: time, command, Python, machine, versions and git commit (None outside a checkout)."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git(Path(__file__).resolve().parents[2]),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    """Names of NVIDIA GPUs as nvidia-smi lists them; empty without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        command = [tool, "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _git(folder: Path) -> dict[str, Any] | None:
    if not (folder / ".git").exists():
        return None
    try:
        commit = _ask(folder, "rev-parse", "HEAD")
        return {"commit": commit, "changed": _ask(folder, "status", "--porcelain", "--untracked-files=no").splitlines()}
    except (OSError, subprocess.SubprocessError):
        return None


def _ask(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.rstrip()
