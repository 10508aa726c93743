"""The stages of a run: each step starts from the one before, the first from weights or from scratch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idol_core.config import ResNetConfig, StageConfig
from idol_core.errors import InvalidInput
from idolctl.config.library import Recipe
from idolctl.config.resolve import Resolved, resolve

SCRATCH = "none"  # `--init none`


@dataclass(frozen=True)
class Stage:
    """One step of a run. `chain` lists all steps up to it ('1-2') and names its folder: equal chains share a folder."""

    chain: str
    config: StageConfig  # init is None if there is a parent
    parent: str | None  # the chain of the stage it starts from
    resolved: Resolved  # has the file and line of every setting
    based_on: str = ""  # where settings come from that neither the set nor the command line says

    @property
    def step(self) -> int:
        """1, 2 or 3."""
        return self.config.step


def parse_steps(text: str | None, recipe: Recipe) -> tuple[int, ...]:
    """Parse '1,3' to (1, 3); None: all steps. Raises InvalidInput unless ascending and among the recipe's steps."""
    if text is None:
        return recipe.steps
    try:
        steps = tuple(int(part) for part in text.split(","))
    except ValueError:
        steps = ()
    if not steps or list(steps) != sorted(set(steps)) or not set(steps) <= set(recipe.steps):
        fix = f"--steps {','.join(map(str, recipe.steps))}"
        raise InvalidInput(f"--steps {text}: name steps of the recipe in ascending order", where="--steps", fix=fix)
    return steps


def make_stages(
    recipe: Recipe,
    *,
    steps: Sequence[int],
    backbone: str | None = None,
    assignments: Sequence[str] = (),
    init: str | None = None,
) -> list[Stage]:
    """Make the chain of stages. `init` (a zoo name, a file, or 'none') replaces the first stage's initial weights.

    Raises Mistakes for errors in the recipe, and InvalidInput if untrained layers would stay frozen.
    """
    stages: list[Stage] = []
    for resolved in resolve(recipe, steps=steps, backbone=backbone, assignments=assignments):
        parent = stages[-1].chain if stages else None
        chain = f"{parent}-{resolved.config.step}" if parent else str(resolved.config.step)
        start = None if parent else _start(init, resolved.config.init)
        config = dataclasses.replace(resolved.config, init=start)
        stages.append(Stage(chain, config, parent, resolved, recipe.based_on))
    _check_frozen(stages[0])
    return stages


def _start(asked: str | None, by_recipe: str | None) -> str | None:
    if asked == SCRATCH:
        return None
    if asked and Path(asked).expanduser().is_file():
        return str(Path(asked).expanduser().resolve())
    return asked or by_recipe


def _check_frozen(first: Stage) -> None:
    backbone = first.config.model.backbone
    if first.config.init is None and isinstance(backbone, ResNetConfig) and backbone.freeze_at > 0:
        raise InvalidInput(
            f"step {first.step} starts from scratch, so freeze_at {backbone.freeze_at} would freeze random weights",
            where="model.backbone.freeze_at",
            fix="--set model.backbone.freeze_at=0, or --init NAME",
        )
    if first.config.init is None and first.config.model.freeze:
        raise InvalidInput(
            f"step {first.step} starts from scratch, so model.freeze would freeze random weights",
            where="model.freeze",
            fix="--set model.freeze=[], or --init NAME",
        )
