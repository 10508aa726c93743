"""Metadata of converted weights: recipe and class names, so that the file can be used on its own."""

from __future__ import annotations

import dataclasses
import sys

from idol_core.config import ModelConfig, StageConfig
from idol_core.errors import InvalidInput
from idol_core.metadata import to_metadata
from idolctl.config.library import backbone_names, load_recipe, recipes_folder
from idolctl.config.load_yaml import read_yaml
from idolctl.config.resolve import resolve
from idolctl.zoo.entries import ZooEntry

PUBLISHED = ("ytvis19", "ovis")  # YouTube-VIS 2021 has as many classes as 2019: a file of it must be told
_ALIKE = {"ytvis19": "ytvis21"}


def metadata_of(entry: ZooEntry, model: ModelConfig) -> dict[str, str]:
    """Metadata of a file of the zoo: the settings of the recipe that it was made with, around `model`, which has the
    sizes read off its tensors. Classes are named where their number is the data set's."""
    step = 3 if entry.dataset else int((entry.steps or "2")[-1])
    recipe = load_recipe(entry.dataset or "ytvis19")  # all recipes share what comes before step 3
    (stage,) = resolve(recipe, steps=(step,), backbone=entry.backbone)
    return _carried(entry.name, stage.config, model)


def metadata_by(source: str, recipe: str | None, model: ModelConfig) -> dict[str, str]:
    """Metadata of a file that somebody has, whose sizes `model` tells: the settings of the last step of `recipe` (None:
    of the published one) that trains such a model. Raises InvalidInput where there is none."""
    for name in (recipe,) if recipe else PUBLISHED:
        loaded = load_recipe(name)
        for stage in reversed(resolve(loaded, steps=loaded.steps, backbone=_backbone(model))):
            trained = stage.config.model
            if (trained.num_classes, trained.embedding) == (model.num_classes, model.embedding):
                if recipe is None and stage.config.step == 3 and name in _ALIKE:
                    other = _ALIKE[name]
                    what = f"taken to be of {name}; {other} has as many classes, with other names: --recipe {other}"
                    print(f"warning: {source}: {what}", file=sys.stderr)
                return _carried(source, stage.config, model)
    kind = f"{model.num_classes} classes and {'an' if model.embedding else 'no'} embedding head"
    what = f"{recipe or 'no published recipe'} trains {'no ' if recipe else 'a '}model of {kind}"
    raise InvalidInput(what, where=source, fix="name the recipe that trained it: --recipe RECIPE")


def _carried(source: str, config: StageConfig, model: ModelConfig) -> dict[str, str]:
    made = dataclasses.replace(config, model=model)
    names = class_names_of(made)
    if names is None:
        data = config.data.train.name or "its data set"
        what = (
            f"the names of its {model.num_classes} classes are not known (it was trained on {data}): they are numbered"
        )
        print(f"warning: {source}: {what}", file=sys.stderr)
    return {"source": source, **to_metadata(made, names)}


def _backbone(model: ModelConfig) -> str | None:
    """The shipped backbone of these sizes; None where there is none."""
    from idol_core.weights.infer_config import backbone_name  # brings torch

    sizes = backbone_name(model.backbone)
    for name in backbone_names():
        (stage,) = resolve(load_recipe("ytvis19"), steps=(3,), backbone=name)
        if backbone_name(stage.config.model.backbone) == sizes:
            return name
    return None


def class_names_of(config: StageConfig) -> tuple[str, ...] | None:
    """Names of the classes that a stage on a published data set learns, by class index; None where its model has
    another number of classes, or nothing is known of the set."""
    names = class_names(config.data.train.name.rpartition("_")[0])
    return tuple(names) if names and len(names) == config.model.num_classes else None


def class_names(dataset: str) -> list[str]:
    """Names by class index, of ytvis19, ytvis21, ovis or coco."""
    entry = read_yaml(recipes_folder() / "classes.yaml").get(dataset)
    return [str(name) for name in entry.value] if entry else []
