"""Options of `idolctl run` and `idolctl plan`, and the `RunRequest` built from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from idol_core.engine.stage_files import LOGS
from idol_core.errors import InvalidInput
from idolctl.commands import complete, options
from idolctl.errors import suggestion
from idolctl.extras import require_extra
from idolctl.runs.processes import LaunchConfig, Launcher
from idolctl.runs.run import RunRequest

RECIPE = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="A shipped recipe's name (idolctl ls recipes), a YAML file, or a data set of your own (with --init); "
        "with --config-file: KEY VALUE overrides.",
        show_default=False,
        autocompletion=complete.runnable,
    ),
]
CONFIG = Annotated[
    Path | None, typer.Option("--config-file", help="A detectron2-style YAML configuration instead of a recipe.")
]
STEPS = Annotated[
    str | None, typer.Option(help="Steps to run, such as 1,2,3 or 1,3 or 3; default: all steps of the recipe.")
]
SET = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: solver.lr=1e-4, steps.2.solver.batch_size=8."),
]
NAME = Annotated[str | None, typer.Option(help="The run's name; default: RECIPE-BACKBONE.")]
INIT = Annotated[
    str | None,
    typer.Option(
        help="Initial weights of the first step: a zoo name, a file, or 'none' (from scratch).",
        autocompletion=complete.weights,
    ),
]
FORCE = Annotated[int | None, typer.Option("--force-step", help="Delete and retrain this step and all later ones.")]
LAUNCHER = Annotated[
    Launcher | None, typer.Option(help="How processes are started; default: torchrun for several, else directly.")
]
GPUS = Annotated[
    int | None,
    typer.Option(
        help="Processes per machine, one GPU each if there are GPUs. [default: 1; without a GPU one per core]",
        show_default=False,
    ),
]
NODES = Annotated[int, typer.Option(help="Number of machines; start the same command on each (slurm does that).")]
ENDPOINT = Annotated[
    str | None, typer.Option("--rdzv-endpoint", metavar="HOST:PORT", help="Rendezvous address of several machines.")
]
TIME = Annotated[str | None, typer.Option("--time", help="Slurm time limit per job.")]
PARTITION = Annotated[str | None, typer.Option(help="Slurm partition.")]
SLURM = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Further sbatch options: account=NAME, qos=NAME, gpus_per_node=0 (none)."),
]

LOG = Annotated[
    str | None,
    typer.Option(
        metavar="TRACKER[,...]",
        help="Send losses and scores to wandb, mlflow, trackio or tensorboard (always on where it is installed).",
    ),
]


@dataclass(frozen=True)
class WhatToRun:
    """Options of both commands: the recipe and its settings, the steps, initial weights and folders."""

    recipe: RECIPE = None
    config_file: CONFIG = None
    backbone: options.BACKBONE = None
    steps: STEPS = None
    settings: SET = None
    runs_dir: options.RUNS = None
    name: NAME = None
    root: options.ROOT = None
    init: INIT = None
    force_step: FORCE = None

    def request(self, launch: LaunchConfig, words: Words) -> RunRequest:
        """Build the `RunRequest`. `words` are the positional arguments as returned by `sort_words`."""
        return RunRequest(
            recipe=words.recipe,
            backbone=self.backbone,
            steps=self.steps,
            assignments=tuple(self.settings or ()),
            runs=self.runs_dir,
            name=self.name,
            root=self.root,
            init=self.init,
            force_step=self.force_step,
            launch=launch,
            config_file=self.config_file,
            overrides=words.overrides,
        )


@dataclass(frozen=True)
class HowToRun:
    """Options of `run` alone: processes, machines, Slurm, experiment trackers."""

    launcher: LAUNCHER = None
    gpus: GPUS = None
    nodes: NODES = 1
    rdzv_endpoint: ENDPOINT = None
    partition: PARTITION = None
    time_limit: TIME = None
    slurm: SLURM = None
    log: LOG = None

    def trackers(self) -> tuple[str, ...]:
        """The experiment trackers of --log. Raises InvalidInput for an unknown one, Missing for its package."""
        asked = tuple(dict.fromkeys(kind.strip() for kind in (self.log or "").split(",") if kind.strip()))
        for kind in asked:
            if kind not in LOGS:
                raise InvalidInput(f"no experiment tracker '{kind}'", where="--log", fix=suggestion(kind, LOGS))
            require_extra(kind, where=f"--log {kind}")
        return asked

    def launch(self, torchrun: tuple[str, ...]) -> LaunchConfig:
        """Build the `LaunchConfig`; `torchrun` holds extra arguments for torchrun."""
        return LaunchConfig(
            launcher=self.launcher or "local",
            gpus=1 if self.gpus is None else self.gpus,
            nodes=self.nodes,
            endpoint=self.rdzv_endpoint,
            torchrun=torchrun,
            partition=self.partition,
            time=self.time_limit,
            slurm=tuple(self.slurm or ()),
        )


class Words(NamedTuple):
    """Positional arguments: the recipe ('' with --config-file), KEY VALUE overrides, and the arguments after --."""

    recipe: str
    overrides: tuple[str, ...]
    further: tuple[str, ...]


def sort_words(recipe: str | None, extra: Sequence[str], config_file: Path | None) -> Words:
    """Sort the positional arguments. Raises InvalidInput unless there is one recipe, or --config-file and overrides."""
    words = [*([] if recipe is None else [recipe]), *extra]
    own = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    plain, further = tuple(words[:own]), tuple(words[own:])
    if config_file is not None:
        return Words("", plain, further)
    if len(plain) > 1:
        raise InvalidInput(f"unexpected argument '{plain[1]}'", where="command line", fix="idolctl run --help")
    if not plain:
        raise InvalidInput("no recipe given", where="command line", fix="idolctl ls recipes")
    return Words(plain[0], (), further)
