"""Make the metadata of converted weights: recipe and class names, so that the file can be used on its own."""

from __future__ import annotations

import dataclasses
import sys

from idol_core.config import ModelConfig, StageConfig
from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import to_metadata
from idolctl.config.library import backbone_names, load_recipe, recipes_folder
from idolctl.config.load_yaml import read_yaml
from idolctl.config.resolve import resolve
from idolctl.zoo.entries import ZooEntry, load_zoo

PUBLISHED = ("ytvis19", "ovis")  # not ytvis21: its class count equals ytvis19's, so only --recipe can select it
_ALIKE = {"ytvis19": "ytvis21"}


def metadata_of(entry: ZooEntry, model: ModelConfig) -> dict[str, str]:
    """Metadata of a zoo file: the settings of its recipe, with the network `model` (sizes read from the tensors).

    Class names are included if the model has as many classes as the data set.
    """
    return _carried(entry.name, _trained_by(entry), model)


def require_fit(entry: ZooEntry, model: ModelConfig) -> None:
    """Raise Integrity unless `model`, as read from a file, is what the entry's step of its recipe trains."""
    from idol_core.weights.infer_config import backbone_name  # imports torch

    wanted = _trained_by(entry).model
    for what, found, expected in (
        ("backbone", backbone_name(model.backbone), backbone_name(wanted.backbone)),
        ("number of classes", model.num_classes, wanted.num_classes),
        ("embedding head", "yes" if model.embedding else "no", "yes" if wanted.embedding else "no"),
    ):
        if found != expected:
            told = f"the file is not {entry.name}: its {what} is {found}, expected {expected}"
            raise Integrity(told, where=entry.name, fix="leave it; train these weights, see idolctl ls zoo")


def _trained_by(entry: ZooEntry) -> StageConfig:
    """The settings that trained an entry."""
    step = 3 if entry.dataset else int((entry.steps or "2")[-1])
    recipe = load_recipe(entry.dataset or "ytvis19")  # steps before 3 are the same in all recipes
    (stage,) = resolve(recipe, steps=(step,), backbone=entry.backbone)
    return stage.config


def metadata_by(source: str, recipe: str | None, model: ModelConfig) -> dict[str, str]:
    """Metadata of a user's own file, with `model` as the network.

    The settings are those of the last step of `recipe` (None: of the published recipes) that trains a model with as
    many classes and with or without embedding head as `model`. Raises InvalidInput if no step does.
    """
    for name in (recipe,) if recipe else PUBLISHED:
        loaded = load_recipe(name)
        for stage in reversed(resolve(loaded, steps=loaded.steps, backbone=_backbone(model))):
            trained = stage.config.model
            if (trained.num_classes, trained.embedding) == (model.num_classes, model.embedding):
                if recipe is None and stage.config.step == 3 and name in _ALIKE:
                    other = _ALIKE[name]
                    what = f"taken to be trained on {name}; if it was {other} (as many classes): --recipe {other}"
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
    """Name of the shipped backbone with these sizes; None if there is none."""
    from idol_core.weights.infer_config import backbone_name  # imports torch

    sizes = backbone_name(model.backbone)
    for name in backbone_names():
        (stage,) = resolve(load_recipe("ytvis19"), steps=(3,), backbone=name)
        if backbone_name(stage.config.model.backbone) == sizes:
            return name
    return None


def class_names_of(config: StageConfig) -> tuple[str, ...] | None:
    """Class names, by class index, of a stage that trains on a published data set.

    None if the model has another number of classes or the data set is unknown.
    """
    names = class_names(config.data.train.name.rpartition("_")[0])
    return tuple(names) if names and len(names) == config.model.num_classes else None


def class_names(dataset: str) -> list[str]:
    """Class names by class index for ytvis19, ytvis21, ovis or coco; empty for other data sets."""
    entry = read_yaml(recipes_folder() / "classes.yaml").get(dataset)
    return [str(name) for name in entry.value] if entry else []


def zoo_classes(name: str | None) -> list[str]:
    """Class names of the published weights `name`, by the data set of their row; empty if it names none."""
    entry = next((entry for entry in load_zoo().weights if entry.name == name), None) if name else None
    return class_names(entry.dataset) if entry is not None and entry.dataset else []
