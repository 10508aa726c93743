"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from idol_core.errors import InvalidInput
from idolctl.runs.processes import Launcher

RECIPE = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="A shipped recipe's name (idolctl ls recipes), or a YAML file; with --config-file: KEY VALUE ... over it.",
        show_default=False,
    ),
]
CONFIG = Annotated[
    Path | None, typer.Option("--config-file", help="A YAML configuration in detectron2's form instead of a recipe.")
]
BACKBONE = Annotated[str | None, typer.Option(help="r50, r101, swinl, tiny or a YAML file; default: the recipe's.")]
STEPS = Annotated[str | None, typer.Option(help="For instance 1,2,3 or 1,3 or 3; default: all of the recipe's.")]
SET = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: solver.lr=1e-4, steps.2.solver.batch_size=8."),
]
RUNS = Annotated[Path | None, typer.Option("--runs-dir", help="Where runs go; default: runs/.")]
NAME = Annotated[str | None, typer.Option(help="The run's name; default: RECIPE-BACKBONE.")]
ROOT = Annotated[Path | None, typer.Option(help="Data root; default: $DETECTRON2_DATASETS, else datasets/.")]
INIT = Annotated[
    str | None,
    typer.Option(help="What the first step starts from: a name of the zoo, a file, or none (from scratch)."),
]
FORCE = Annotated[int | None, typer.Option("--force-step", help="Train this step again, and those after it.")]
LAUNCHER = Annotated[
    Launcher | None, typer.Option(help="What starts the processes; default: torchrun for several, else none.")
]
GPUS = Annotated[
    int | None,
    typer.Option(
        help="Processes on each machine, each with a GPU where there are any. [default: 1; without a GPU one per core]",
        show_default=False,
    ),
]
NODES = Annotated[int, typer.Option(help="Machines; the same command runs on each of them (slurm does that).")]
ENDPOINT = Annotated[
    str | None, typer.Option("--rdzv-endpoint", metavar="HOST:PORT", help="Where several machines meet.")
]
PARTITION = Annotated[str | None, typer.Option(help="Slurm's partition.")]
SLURM = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Anything for sbatch: account=NAME, qos=NAME, gpus_per_node=0 (none)."),
]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]


class Overridable(TyperCommand):
    """A command that takes KEY VALUE ...: a negative number behind a KEY is its value and no option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        pairs = zip(["", *args], args[:end], strict=False)
        words = [f" {word}" if _KEY.fullmatch(key) and _NEGATIVE.match(word) else word for key, word in pairs]
        return super().parse_args(ctx, words + args[end:])  # `read_config_file` takes the space away


_KEY, _NEGATIVE = re.compile(r"[A-Z][A-Z0-9_.]*"), re.compile(r"-[.\d]")


class Words(NamedTuple):
    """Arguments without a name: a recipe ('' where a configuration file stands for it), overrides, what followed --."""

    recipe: str
    overrides: tuple[str, ...]
    further: tuple[str, ...]


def sort_words(recipe: str | None, extra: Sequence[str], config_file: Path | None) -> Words:
    """Tell apart what stands on the command line. InvalidInput unless it is one recipe, or a file and overrides."""
    words = [*([] if recipe is None else [recipe]), *extra]
    own = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    plain, further = tuple(words[:own]), tuple(words[own:])
    if config_file is not None:
        return Words("", plain, further)
    if len(plain) > 1:
        raise InvalidInput(f"unexpected argument '{plain[1]}'", where="command line", fix="idolctl run --help")
    if not plain:
        raise InvalidInput("no recipe is named", where="command line", fix="idolctl ls recipes")
    return Words(plain[0], (), further)
