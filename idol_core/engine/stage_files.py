"""Read a stage folder: stage.json (what to do), state.json (its status), and the names of checkpoints.

Reading never raises, whatever a file contains (another version's fields, wrong types, half a file): a field of the
wrong type gets its default, and a file that is not a JSON object counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from idol_core.config import StageConfig, stage_from_dict
from idol_core.errors import Integrity
from idol_core.system.files import read_object, write_json

ORDER, STATUS, METRICS_LINES, CHECKPOINTS = "stage.json", "state.json", "metrics.jsonl", "checkpoints"
LOGS = ("tensorboard", "wandb", "mlflow", "trackio")  # experiment trackers
_LARGEST = 1 << 53  # largest integer that all JSON readers represent exactly


def text(value: Any, default: str = "") -> str:
    """`value` if it is a string, made printable (lone surrogates are replaced), else `default`."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else default


def whole(value: Any, default: int = 0) -> int:
    """`value` if it is an integer of at least 0, else `default`."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else default


def number(value: Any) -> float | None:
    """`value` if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not isfinite(value):
        return None
    return value


def numbers(value: Any) -> dict[str, float] | None:
    """The finite numbers of a JSON object by name; None if it has none or is not an object."""
    if not isinstance(value, dict):
        return None
    return {text(name): found for name, v in value.items() if (found := number(v)) is not None} or None


@dataclass(frozen=True)
class StageError:
    """Why a stage ended early. `final`: starting it again without a change would end the same way."""

    what: str
    where: str = ""
    fix: str = ""
    exit_code: int = 1
    rank: int = 0
    final: bool = False
    traceback: str | None = None


@dataclass(frozen=True)
class StageStatus:
    """The content of state.json. status: starting, running, stopped, failed or done; phase: train or evaluate."""

    status: str = ""
    phase: str = ""
    iteration: int = 0
    iterations: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] | None = None
    error: StageError | None = None


def read_status(folder: Path) -> StageStatus:
    """Read the state.json of a stage folder; an empty status if there is none that can be read."""
    found = read_object(folder / STATUS)
    return StageStatus(
        status=text(found.get("status")),
        phase=text(found.get("phase")),
        iteration=whole(found.get("iteration")),
        iterations=whole(found.get("iterations")),
        seconds=max(number(found.get("seconds")) or 0.0, 0.0),
        metrics=numbers(found.get("metrics")),
        error=_error(found.get("error")),
    )


def write_status(folder: Path, status: StageStatus) -> None:
    """Replace state.json."""
    write_json(folder / STATUS, asdict(status))


def _error(found: Any) -> StageError | None:
    if not isinstance(found, dict):
        return None
    code = whole(found.get("exit_code"), 1)
    return StageError(
        what=text(found.get("what")) or "the stage failed and left no reason",
        where=text(found.get("where")),
        fix=text(found.get("fix")),
        exit_code=code if 0 < code < 256 else 1,
        rank=whole(found.get("rank")),
        final=found.get("final") is True,
        traceback=text(found.get("traceback")) or None,
    )


@dataclass(frozen=True)
class StageOrder:
    """The content of stage.json: what a stage is to do. `settings` is its StageConfig as a dict, unchecked."""

    folder: Path
    key: str
    fingerprint: dict[str, Any]  # {} where it is not known
    settings: dict[str, Any]
    parent: str | None  # weights of the previous step
    root: Path | None  # of the data sets
    init_classes: tuple[str, ...] = ()  # names of the initial weights' classes, where the file doesn't hold them
    log: tuple[str, ...] = ()  # experiment trackers

    @property
    def step(self) -> int:
        """1, 2 or 3; 0 where the settings don't say."""
        found = whole(self.settings.get("step"))
        return found if found in (1, 2, 3) else 0

    @property
    def iterations(self) -> int:
        """How many iterations the stage trains."""
        return whole(_inner(self.settings, "solver").get("iterations"))

    @property
    def validates_on(self) -> str:
        """Name of the validation set; '' for one given by paths."""
        return text(_inner(_inner(self.settings, "data"), "val").get("name"))

    def config(self) -> StageConfig:
        """The settings as a StageConfig. Raises Integrity if they do not fit this version."""
        try:
            return stage_from_dict(self.settings)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            what = f"the settings in stage.json are not of this version: {error}"
            raise Integrity(what, where=str(self.folder / ORDER), fix="run the recipe again") from error


def read_order(folder: Path) -> StageOrder:
    """Read the stage.json of a stage folder; an empty order if there is none that can be read."""
    found = read_object(folder / ORDER)
    fingerprint, root = _inner(found, "identity"), text(found.get("root"))
    classes = found.get("init_classes")
    log = found.get("log")
    return StageOrder(
        folder=folder,
        key=text(found.get("key")),
        fingerprint=fingerprint if isinstance(fingerprint.get("settings"), dict) else {},
        settings=_inner(found, "config"),
        parent=text(found.get("parent")) or None,
        root=Path(root) if root and "\0" not in root else None,
        init_classes=tuple(map(text, classes)) if isinstance(classes, list) else (),
        log=tuple(kind for kind in log if kind in LOGS) if isinstance(log, list) else (),
    )


def _inner(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files in `folder`, sorted by the iteration in their names, oldest first."""
    found = (path for path in folder.glob("*.pt") if path.stem.isascii() and path.stem.isdigit())
    return sorted(found, key=lambda path: int(path.stem))


def newest_iteration(folder: Path) -> int:
    """The iteration of the newest checkpoint, by its name; 0 where there is none."""
    found = list_checkpoints(folder)
    return int(found[-1].stem) if found else 0
