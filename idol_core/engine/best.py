"""The best of a stage's evaluations: its weights (best.safetensors), its iteration and scores (best.json)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from idol_core.config import SolverConfig
from idol_core.engine.stage_files import numbers, whole
from idol_core.system.files import read_object, write_json
from idol_core.weights import open_weights, save_weights

_WEIGHTS, _SCORES = "best.safetensors", "best.json"


class Best(NamedTuple):
    """Iteration and AP (0..100) of the weights that `keep_best` saved."""

    iteration: int
    ap: float


def keep_best(
    folder: Path, iteration: int, metrics: dict[str, float] | None, model: nn.Module, metadata: dict[str, str]
) -> None:
    """Save `model` if its AP exceeds the best so far; does nothing without ground truth (`metrics` is None)."""
    best = read_best(folder)
    if metrics is None or (best is not None and metrics["AP"] <= best.ap):
        return
    save_weights(folder / _WEIGHTS, model.state_dict(), metadata)
    write_json(folder / _SCORES, {"iteration": iteration, "metrics": metrics})


def read_best(folder: Path) -> Best | None:
    """The best so far; None if no evaluation had a score, or a file of it is missing."""
    found = read_object(folder / _SCORES)
    metrics = numbers(found.get("metrics")) or {}
    known = "AP" in metrics and (folder / _WEIGHTS).is_file()
    return Best(whole(found.get("iteration")), metrics["AP"]) if known else None


def load_best(folder: Path, model: nn.Module) -> None:
    """Load the best weights into `model`. Raises as `open_weights` does."""
    model.load_state_dict(open_weights(folder / _WEIGHTS).state)


def without_rise(scores: Sequence[tuple[int, float]]) -> int:
    """How many of the (iteration, AP) of successive evaluations came after the first that has the highest AP."""
    aps = [ap for _, ap in scores]
    return len(aps) - 1 - aps.index(max(aps)) if aps else 0


def describe_kept(best: Best, reached: int, solver: SolverConfig) -> str:
    """Say why training ended, and which weights are kept."""
    kept = f"the weights of iteration {best.iteration} are kept, AP {best.ap:.1f}"
    if reached == solver.iterations:
        return f"{kept}: those of the last iteration score no higher"
    since = f"{solver.patience} evaluation{'s' * (solver.patience > 1)}"
    return f"stopped after iteration {reached} of {solver.iterations}, as AP has not risen for {since}; {kept}"
