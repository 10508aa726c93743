"""Find runs and their stages on disk."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from idol_core.engine.stage_files import ORDER, STATUS, StageOrder, read_order
from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import file_metadata
from idolctl.errors import suggestion
from idolctl.runs.state import CLASSES, WEIGHTS, StageState, read_stage

RUNS = Path("runs")
JOBS = "jobs.json"  # Slurm jobs submitted for the stages


@dataclass(frozen=True)
class FoundStage:
    """A stage folder of a run: its job description (stage.json) and its state."""

    run: Path
    order: StageOrder
    state: StageState

    @property
    def step(self) -> int:
        """1, 2 or 3."""
        return self.order.step

    @property
    def validates_on(self) -> str:
        """Name of the validation set; '' if it is given by paths."""
        return self.order.validates_on

    @property
    def changed(self) -> float:
        """When its state was last written, in seconds since the epoch."""
        try:
            return (self.state.folder / STATUS).stat().st_mtime
        except OSError:
            return 0.0


def stages_of(run: Path) -> list[FoundStage]:
    """All stages of a run folder, newest first, without those of `unreadable_stages`."""
    found = [FoundStage(run, read_order(p.parent), read_stage(p.parent)) for p in run.glob(f"*/{ORDER}")]
    return sorted((stage for stage in found if stage.step), key=lambda s: s.changed, reverse=True)


def unreadable_stages(run: Path) -> list[Path]:
    """Folders of stages whose stage.json can't be read, or names no step; in order of their names."""
    return sorted(path.parent for path in run.glob(f"*/{ORDER}") if not read_order(path.parent).step)


def stage_in(folder: Path) -> FoundStage:
    """Read the stage in a folder. Raises Integrity if its stage.json can't be read."""
    stage = FoundStage(folder.parent, read_order(folder), read_stage(folder))
    if not stage.step:
        fix = "run the recipe again, or look at the stages beside it"
        raise Integrity("stage.json can't be read", where=str(folder / ORDER), fix=fix)
    return stage


def stage_classes(folder: Path) -> tuple[str, ...] | None:
    """Class names of the weights in a stage folder, by class index; None if they are not recorded."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        names = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    with contextlib.suppress(Integrity):
        return file_metadata(folder / WEIGHTS).classes
    return None


def run_folders(runs: Path) -> list[Path]:
    """The run folders in `runs`, sorted by name."""
    started = {p.parent.parent for p in runs.glob("*/*/stage.json")}
    return sorted(started | {p.parent for p in runs.glob(f"*/{JOBS}")})


def find_run(name: str, runs: Path) -> Path:
    """Find a run by its name in `runs` or by its path. Raises InvalidInput, with the nearest name, if there is none."""
    for path in (runs / name, Path(name)):
        if any(path.glob("*/stage.json")) or (path / JOBS).is_file():
            return path
    fix = suggestion(name, [p.name for p in run_folders(runs)])
    raise InvalidInput(f"no run '{name}'", where=str(runs), fix=fix)
