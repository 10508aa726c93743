"""Resolve the targets of `idolctl eval`: a run, a stage, a weights file or a name of the zoo."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from idol_core.config import StageConfig
from idol_core.errors import InvalidInput, Missing
from idol_core.metadata import file_metadata
from idol_core.system.cache import cache_folder, find_weights
from idol_core.system.hub import PREFIX, HubPlace
from idolctl.config.library import load_recipe, recipe_names
from idolctl.config.resolve import resolve
from idolctl.errors import suggestion
from idolctl.runs.find import FoundStage, find_run, run_folders, stage_classes, stage_in, stages_of
from idolctl.runs.state import WEIGHTS
from idolctl.terminal.progress import say
from idolctl.zoo.entries import ZooEntry, load_zoo
from idolctl.zoo.metadata import class_names_of


@dataclass(frozen=True)
class Target:
    """Weights to evaluate, with their settings.

    `stage` is the folder of the stage whose final weights these are (None for others), `folder` the one for new files;
    `classes` are class names by class index, None if unknown.
    """

    name: str
    weights: Path
    config: StageConfig
    folder: Path
    stage: Path | None = None
    root: Path | None = None  # the data root of the run
    classes: tuple[str, ...] | None = None


def find_target(name: str, runs: Path, *, data: str | None) -> Target:
    """Look for a run (or stage) of that name or folder, then for a checkpoint or weights file, then in the zoo.

    For weights without a recipe in their metadata, the settings are those of the recipe that `data` names.

    Raises InvalidInput for an unknown name, Missing if the weights are not there or no stage of a run has any.
    """
    path = Path(name)
    if (path / "stage.json").is_file():
        return _of_stage(name, stage_in(path))
    if any((runs / name).glob("*/stage.json")) or any(path.glob("*/stage.json")):
        if any(entry.name == name for entry in load_zoo().weights):  # RECIPE-BACKBONE can name a run and zoo weights
            files = f"{cache_folder()}/weights/{name}.*"
            say(f"{name} is the run {find_run(name, runs)} here; the zoo's weights of that name are {files}")
        return _of_run(name, find_run(name, runs))
    if path.is_file():
        own = path.resolve()
        if own.parent.name == "checkpoints" and (own.parents[1] / "stage.json").is_file():
            return _of_checkpoint(name, own)
        return _of_file(own.parent.name if own.name == WEIGHTS else own.stem, own, runs, data)
    if name.startswith(PREFIX):
        return _of_file(HubPlace.parse(name).repository.replace("/", "-"), find_weights(name), runs, data)
    entry = next((e for e in load_zoo().weights if e.name == name), None)
    if entry is not None:
        return _of_zoo(entry, runs)
    known = [*(p.name for p in run_folders(runs)), *(e.name for e in load_zoo().weights)]
    what = f"'{name}' is neither a run, nor a weights file, nor a zoo name"
    raise InvalidInput(what, where=f"{runs}, idolctl ls zoo", fix=suggestion(name, known))


def published_scores(target: Target, data: str) -> dict[str, dict[str, float]]:
    """Published metrics that are comparable with `target` (same data, recipe and backbone), by name in the zoo."""
    config = target.config
    found = {}
    for entry in load_zoo().weights:
        mine = target.name == entry.name or (config.recipe == entry.dataset and config.backbone == entry.backbone)
        if entry.scores and mine and config.step == 3 and data == f"{entry.dataset}_val":
            found[entry.name] = dataclasses.asdict(entry.scores)
    return found


def _of_run(name: str, run: Path) -> Target:
    """Target of a run: the newest stage with weights of the highest step that has any."""
    stages = stages_of(run)
    ready = [s for s in stages if s.state.has_weights]
    if not ready:
        known = ", ".join(sorted(s.state.folder.name for s in stages))
        recipe = stages[0].order.settings.get("recipe", "RECIPE") if stages else "RECIPE"
        raise Missing(f"no stage of {run} has weights yet (there are {known})", where=str(run),
                      fix=f"idolctl run {recipe} --runs-dir {run.parent} --name {run.name}")  # fmt: skip
    return _of_stage(name, max(ready, key=lambda s: (s.step, s.changed)))


def _of_stage(name: str, stage: FoundStage) -> Target:
    folder = stage.state.folder
    if not stage.state.has_weights:
        raise Missing(f"{name} has no weights yet", where=str(folder / WEIGHTS), fix="let the run finish first")
    order = stage.order
    return Target(name, folder / WEIGHTS, order.config(), folder, folder, order.root, stage_classes(folder))


def _of_checkpoint(name: str, path: Path) -> Target:
    """Target of a checkpoint from the middle of a stage, with the stage's settings but not its results."""
    folder = path.parents[1]
    order, into = stage_in(folder).order, folder / "eval" / path.stem
    return Target(name, path, order.config(), into, None, order.root, stage_classes(folder))


def _of_file(name: str, path: Path, runs: Path, data: str | None) -> Target:
    carried = file_metadata(path)
    if carried.recipe is not None:
        return Target(name, path, carried.recipe, runs / "eval" / name, classes=carried.classes)
    base = (data or "").partition("@")[0]
    base = base.removesuffix("_val").removesuffix("_train")
    if base not in recipe_names():
        fix = "name the data set that they are for: --data ovis"
        raise InvalidInput("the file does not say which recipe its weights were trained with", where=str(path), fix=fix)
    config = _fitted(base, path)
    classes = carried.classes or class_names_of(config)
    if carried.classes is None and classes:
        say(f"warning: {path} does not name its classes; they are taken to be those of {base}, in the order of its ids")
    return Target(name, path, config, runs / "eval" / name, classes=classes)


def _of_zoo(entry: ZooEntry, runs: Path) -> Target:
    if entry.kind == "imagenet":
        raise InvalidInput(f"{entry.name} is only a backbone, which can't segment", where="idolctl ls zoo",
                           fix="train with it: idolctl run ytvis19")  # fmt: skip
    path = find_weights(entry.name)
    step = 3 if entry.dataset else int((entry.steps or "2")[-1])
    recipe = load_recipe(entry.dataset or "ytvis19")
    (stage,) = resolve(recipe, steps=(step,), backbone=entry.backbone)
    classes = file_metadata(path).classes or class_names_of(stage.config)
    return Target(entry.name, path, stage.config, runs / "eval" / entry.name, classes=classes)


def _fitted(recipe: str, path: Path) -> StageConfig:
    """The recipe's settings, with the network's sizes read from the tensors."""
    from idol_core.weights import open_weights  # imports torch
    from idol_core.weights.infer_config import infer_config
    from idol_core.weights.published import is_published, rename_published

    state = open_weights(path).state
    ours = rename_published(state, where=str(path))[0] if is_published(state) else state
    model = infer_config(ours, where=str(path))
    (stage,) = resolve(load_recipe(recipe), steps=(3 if model.embedding else 1,))
    return dataclasses.replace(stage.config, model=model, backbone="")
