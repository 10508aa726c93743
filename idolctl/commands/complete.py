"""Shell completion (TAB): names of recipes, weights, backbones, data sets and runs. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def recipes(incomplete: str) -> list[str]:
    """Shipped recipes, and YAML files in the current folder."""
    from idolctl.config.library import recipe_names

    return _beginning(incomplete, [*recipe_names(), *_files(incomplete, (".yaml", ".yml"))])


def runnable(ctx: Any, incomplete: str) -> list[str]:
    """Recipes, and the user's own sets and splits below --root."""
    from idolctl.datasets.root import data_root
    from idolctl.runs.own_set import own_set_names

    return [*recipes(incomplete), *_beginning(incomplete, own_set_names(data_root(ctx.params.get("root"))))]


def backbones(incomplete: str) -> list[str]:
    """Shipped backbones."""
    from idolctl.config.library import backbone_names

    return _beginning(incomplete, backbone_names())


def zoo(incomplete: str) -> list[str]:
    """Names of published weights and annotation folders."""
    from idolctl.zoo.entries import load_zoo

    found = load_zoo()
    return _beginning(incomplete, [*(w.name for w in found.weights), *(f.name for f in found.folders)])


def weights(incomplete: str) -> list[str]:
    """Names of published weights, and weights files in the current folder."""
    return [*zoo(incomplete), *_beginning(incomplete, _files(incomplete, (".safetensors", ".pth", ".pkl")))]


def runs(ctx: Any, incomplete: str) -> list[str]:
    """Runs below --runs-dir."""
    from idolctl.runs.find import RUNS, run_folders

    return _beginning(incomplete, [run.name for run in run_folders(ctx.params.get("runs_dir") or RUNS)])


def targets(ctx: Any, incomplete: str) -> list[str]:
    """Targets of `idolctl eval`: runs, published weights, weights files."""
    return [*runs(ctx, incomplete), *weights(incomplete)]


def data_sets(ctx: Any, incomplete: str) -> list[str]:
    """Data sets and splits, built in and below --root, each with its parts (ovis, ovis_train, ovis_val)."""
    from idol_core.data.catalog import known_names
    from idolctl.datasets.root import data_root

    names = known_names(data_root(ctx.params.get("root")))
    short = {name.removesuffix("_train").removesuffix("_val") for name in names}
    return _beginning(incomplete, sorted({*short, *names}))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Folders, and files with one of the suffixes, in the folder part of the word typed so far."""
    head = incomplete[: incomplete.rfind("/") + 1]
    try:
        for path in sorted(Path(head or ".").iterdir()):
            if path.suffix in suffixes or (path.is_dir() and not path.name.startswith(".")):
                yield f"{head}{path.name}{'/' if path.is_dir() else ''}"
    except OSError:
        return
