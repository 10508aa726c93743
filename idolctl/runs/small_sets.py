"""Settings for training on a small set from the weights of a whole network: short, with little that can be forgotten.

Every value follows from the number of frames and the settings of the weights' recipe. Sets of `SMALL` frames or more
keep the recipe's settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from idol_core.config import ResNetConfig, StageConfig, SwinConfig
from idolctl.config.load_yaml import Derived
from idolctl.config.schema import Path, Settings, Value

SMALL = 5000  # frames; YouTube-VIS 2019 has 61,845 to train on
FEWEST = 100  # iterations
PER_ROOT = 40  # iterations per square root of the frames: 400 for 100 frames; the published 12,000 are 48
BATCH = 8
FROZEN = ("stem", "stage1")  # as in the published ResNets; more cost AP where it was tried (benchmarks/few_clips.py)
PRETRAINED = 0.5  # learning rate of what was pre-trained, to that of the class heads
COLORS = {"probability": 0.5, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}


def small_set_settings(base: StageConfig, frames: int, given: Settings, *, source: str) -> Settings:
    """The settings that change for a training set of so many frames, by path; {} for `SMALL` or more.

    `base` has the settings of the recipe. `given` are those asked for on the command line, which win later and
    which others follow here: milestones fit a given number of iterations. `source` says in words what values come from.
    """
    if frames >= SMALL:
        return {}
    origin = Derived(source)
    return {path: Value(value, origin, ".".join(path)) for path, value in _changes(base, frames, given)}


def _changes(base: StageConfig, frames: int, given: Settings) -> Iterator[tuple[Path, Any]]:
    solver = base.solver
    iterations = max(FEWEST, 10 * round(PER_ROOT * math.sqrt(frames) / 10))
    yield ("solver", "iterations"), iterations
    asked = given.get(("solver", "iterations"))
    if asked is not None and isinstance(asked.value, int) and asked.value > 0:
        iterations = asked.value
    if solver.schedule == "step":
        scaled = [iterations * m // solver.iterations for m in solver.milestones]
        yield ("solver", "milestones"), sorted({m for m in scaled if 0 < m < iterations})
    yield ("solver", "warmup_iterations"), min(solver.warmup_iterations, iterations // 10)
    yield ("solver", "checkpoint_every"), max(iterations // 4, 1)
    if solver.batch_size > BATCH and (solver.normalize == "global" or BATCH % solver.micro_batches == 0):
        yield ("solver", "batch_size"), BATCH
    yield ("solver", "pretrained_lr_factor"), PRETRAINED
    if isinstance(base.model.backbone, ResNetConfig | SwinConfig):  # others have no parts of these names
        yield ("model", "freeze"), list(FROZEN)
    if base.input.color.probability == 0:
        for name, value in COLORS.items():
            yield ("input", "color", name), value
