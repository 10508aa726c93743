"""Describe what is installed and found on this machine, to paste into a bug report."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from idol_core.config import DataSource
from idol_core.data.catalog import LAYOUTS, resolve_source
from idol_core.errors import IdolError
from idol_core.system.cache import cache_folder
from idol_core.system.cpu import usable_cores
from idolctl import __version__
from idolctl.extras import EXTRAS, describe_extra, version_of
from idolctl.runs.environment import PACKAGES, describe_environment

PROBE = """
import json, torch
from importlib.metadata import PackageNotFoundError, version
from idol_core.engine.distributed import backends
from idol_core.ops import deform_attn_cpu, native
def triton():
    for name in ("triton", "pytorch-triton", "triton-windows"):
        try:
            return version(name)
        except PackageNotFoundError:
            pass
built = native.load(deform_attn_cpu.SOURCE) is not None
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({
    "CUDA of torch": torch.version.cuda, "cuDNN": torch.backends.cudnn.version(),
    "devices": [f"{g.name}, {g.total_memory / 2**30:.0f} GiB, compute {g.major}.{g.minor}" for g in gpus],
    "Apple GPU (mps)": "usable" if torch.backends.mps.is_available() else None,
    "Triton": triton(),
    "attention on the CPU": "C code, compiled here" if built else "torch (slower: no C compiler, or IDOL_NATIVE=0)",
    "process groups": backends(),
}))
"""


def examine(root: Path, runs: Path) -> dict[str, dict[str, Any]]:
    """Collect all sections; `root` holds the data sets, `runs` the runs.

    torch is queried in a separate process, so that a broken one is reported too.
    """
    return {
        "versions": _versions(),
        "machine": _machine(),
        "devices": _devices(),
        "extras": {name: describe_extra(name) for name in EXTRAS},
        "places": _places(root, runs),
        "data": _data(root),
        "weights": _weights(),
        "launchers": _launchers(),
    }


def as_text(sections: dict[str, dict[str, Any]]) -> str:
    """Format the sections as aligned lines."""
    width = max(len(key) for values in sections.values() for key in values)
    lines: list[str] = []
    for name, values in sections.items():
        lines.append(name)
        for key, value in values.items():
            shown = ", ".join(value) or "none" if isinstance(value, list) else "-" if value is None else value
            lines.append(f"  {key.ljust(width)}  {shown}")
    return "\n".join(lines)


def _versions() -> dict[str, Any]:
    found = describe_environment()
    own = {"idolctl": __version__, "python": found["python"], "platform": found["platform"]}
    git = found["git"]
    commit = None if git is None else git["commit"] + (" and changes" if git["changed"] else "")
    return {**own, "git commit": commit, **{name: version_of(name) for name in PACKAGES}}


def _places(root: Path, runs: Path) -> dict[str, Any]:
    """Where runs, data sets and weights are, and how much room is left on the disk of each."""
    places = {"runs": runs, "data root": root, "cache of weights": cache_folder()}
    return {name: f"{path.resolve()} ({_free(path)})" for name, path in places.items()}


def _free(path: Path) -> str:
    """Free space on the disk where `path` is, or will be."""
    there = next((p for p in (path.resolve(), *path.resolve().parents) if p.exists()), None)
    if there is None:
        return "no such disk"
    return f"{_gib(shutil.disk_usage(there).free)} free{'' if path.exists() else ', not there yet'}"


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared = Path("/dev/shm")
    return {
        "processor": platform.processor() or platform.machine(),
        "cores usable": f"{usable_cores()} of {os.cpu_count()}",
        "memory": _gib(memory),
        "free shared memory": _gib(shutil.disk_usage(shared).free) if shared.is_dir() else None,
        "C compiler": shutil.which(os.environ.get("CC") or "cc"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def _devices() -> dict[str, Any]:
    import json

    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        return {"torch": f"fails: {(error.stderr.strip().splitlines() or ['no message'])[-1]}"}
    except subprocess.TimeoutExpired as error:
        return {"torch": f"does not answer within {error.timeout:.0f} s"}
    except (OSError, ValueError) as error:
        return {"torch": f"fails: {error}"}
    return found


def _data(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in LAYOUTS:
        try:
            found[name] = str(resolve_source(DataSource(name=name), root).annotations)
        except IdolError:
            found[name] = None
    return found


def _weights() -> dict[str, Any]:
    folder = cache_folder()
    names = sorted(p.stem for p in (folder / "weights").glob("*") if p.is_file() and not p.name.startswith("."))
    return {"in the cache": names}


def _launchers() -> dict[str, Any]:
    return {
        "torchrun": "python -m torch.distributed.run" if version_of("torch") else None,
        "sbatch": shutil.which("sbatch"),
        "submitit": version_of("submitit"),
    }


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
