"""What a fetched file carries beside its tensors, so that it can be opened without the zoo: recipe and class names."""

from __future__ import annotations

import dataclasses
import json
import sys

from idol_core.config import ModelConfig, stage_to_dict
from idolctl.library import load_recipe, recipes_folder
from idolctl.resolve import resolve
from idolctl.yaml_source import read_yaml
from idolctl.zoo import ZooEntry


def metadata_of(entry: ZooEntry, model: ModelConfig) -> dict[str, str]:
    """Metadata of the converted file: the settings of the recipe that it was made with, around `model`, which has the
    sizes read off its tensors. Classes are named where their number is the data set's."""
    step = 3 if entry.dataset else int((entry.steps or "2")[-1])
    recipe = load_recipe(entry.dataset or "ytvis19")  # all recipes share what comes before step 3
    (stage,) = resolve(recipe, steps=(step,), backbone=entry.backbone)
    carried = {
        "source": entry.name,
        "recipe": json.dumps(stage_to_dict(dataclasses.replace(stage.config, model=model))),
    }
    names = class_names(entry.dataset or "coco")
    if len(names) == model.num_classes:
        return carried | {"classes": json.dumps(names)}
    what = f"the file knows {model.num_classes} classes, the data set {len(names)}: they are numbered"
    print(f"{entry.name}: {what}", file=sys.stderr)
    return carried


def class_names(dataset: str) -> list[str]:
    """Names by class index, of ytvis19, ytvis21, ovis or coco."""
    entry = read_yaml(recipes_folder() / "classes.yaml").get(dataset)
    return [str(name) for name in entry.value] if entry else []
