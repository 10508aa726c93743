"""Runs on disk: which stages there are below a runs folder, and which one a command means."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import file_metadata
from idolctl.errors import suggestion
from idolctl.runs.state import CLASSES, WEIGHTS, StageState, read_stage

RUNS = Path("runs")
JOBS = "jobs.json"  # which jobs of Slurm were submitted for which stages


@dataclass(frozen=True)
class FoundStage:
    """A stage folder of a run: its order (stage.json) and its state."""

    run: Path
    order: dict[str, Any]
    state: StageState

    @property
    def step(self) -> int:
        """1, 2 or 3."""
        return int(self.order["config"]["step"])

    @property
    def validates_on(self) -> str:
        """The name of the data set that it is scored on, '' for one given by paths."""
        return str(self.order["config"]["data"]["val"]["name"])

    @property
    def changed(self) -> float:
        """When its state was last written, in seconds."""
        path = self.state.folder / "state.json"
        return path.stat().st_mtime if path.exists() else 0.0


def stages_of(run: Path) -> list[FoundStage]:
    """All stages of a run folder, the newest first."""
    found = []
    for path in run.glob("*/stage.json"):
        try:
            order = json.loads(path.read_text(encoding="utf-8"))
            stage = FoundStage(run, order, read_stage(path.parent))
            _ = stage.step, stage.validates_on
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(stage)
    return sorted(found, key=lambda s: s.changed, reverse=True)


def stage_classes(folder: Path) -> tuple[str, ...] | None:
    """Names of the classes that the weights in a stage folder know, by class index; None where nothing says so."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        names = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    with contextlib.suppress(Integrity):
        return file_metadata(folder / WEIGHTS).classes
    return None


def run_folders(runs: Path) -> list[Path]:
    """The run folders below `runs`, by name."""
    started = {p.parent.parent for p in runs.glob("*/*/stage.json")}
    return sorted(started | {p.parent for p in runs.glob(f"*/{JOBS}")})


def find_run(name: str, runs: Path) -> Path:
    """A run by its name below `runs` or by its path. InvalidInput with the nearest name."""
    for path in (runs / name, Path(name)):
        if any(path.glob("*/stage.json")) or (path / JOBS).is_file():
            return path
    fix = suggestion(name, [p.name for p in run_folders(runs)])
    raise InvalidInput(f"no run '{name}'", where=str(runs), fix=fix)
