"""Recipes for sets of one's own: `idolctl run mine --init ovis-r50` needs no recipe file.

Settings are those of the initial weights' recipe, the classes those of the set; a small set gets its own schedule
(`small_sets`). Videos are trained on in step 3, images in step 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from idol_core.config import DataSource, StageConfig, stage_to_dict
from idol_core.data.catalog import find_layout, is_built_in, resolve_source
from idol_core.data.own_sets import own_names, split_names
from idol_core.errors import InvalidInput, Missing
from idol_core.metadata import file_metadata
from idol_core.system.cache import find_weights
from idolctl.config.library import Recipe, backbone_names, is_path, load_recipe, recipe_names, recipes_folder
from idolctl.config.load_yaml import Derived, Entry, Origin
from idolctl.config.overrides import settings_document
from idolctl.config.recipe_file import RecipeFile, Scope, Section
from idolctl.config.resolve import resolve
from idolctl.config.schema import Settings, Value
from idolctl.runs.small_sets import small_set_settings
from idolctl.runs.stages import SCRATCH
from idolctl.terminal.progress import transfer
from idolctl.zoo.entries import ZooEntry, load_zoo

PUBLISHED = "bases/published.yaml"
# Settings of a stage that say nothing about how to train on other data.
_NOT_KEPT = (
    ("recipe",),
    ("backbone",),
    ("step",),
    ("init",),
    ("data", "train"),
    ("data", "val"),
    ("data", "classes_map"),
)


class OwnSet(NamedTuple):
    """A data set of one's own: the size of its training part."""

    name: str  # `mine` or `mine@split`
    kind: Literal["coco", "vis"]
    videos: int  # images, for COCO
    frames: int
    classes: int

    @property
    def step(self) -> Literal[2, 3]:
        """The step that trains on it."""
        return 3 if self.kind == "vis" else 2


class _Base(NamedTuple):
    """What a recipe for a set builds on."""

    documents: tuple[RecipeFile, ...]
    backbone: str | None  # None: the recipe's
    called: str
    whole: bool  # whether the initial weights are of a whole network, so that little has to be learnt


def is_own_set(name: str, root: Path) -> bool:
    """Whether `run NAME` means a set of the data root, not a recipe."""
    if name in recipe_names() or is_path(name) or is_built_in(name):
        return False
    return find_layout(f"{name}_train", root) is not None


def own_set_names(root: Path) -> list[str]:
    """Sets and splits of the data root that `run NAME` takes."""
    names = [name.rpartition("_")[0] for name in own_names(root) if name.endswith("_train")] + split_names(root)
    return [name for name in names if is_own_set(name, root)]


def recipe_for(
    name: str, root: Path, *, init: str | None, backbone: str | None, assignments: tuple[str, ...]
) -> Recipe:
    """Make the recipe for a set of the data root (`is_own_set`).

    Raises InvalidInput for a set without validation part and for weights whose backbone isn't known, and as
    `open_dataset` and `file_metadata` do.
    """
    own, base = _open(name, root), _base(init, backbone)
    documents = (*(_only(document, own.step) for document in base.documents), _of_set(own, base.backbone))
    recipe = Recipe(name, root / f"{name.partition('@')[0]}.yaml", documents, base.called)
    small: Settings = {}
    if base.whole:
        (unchanged,) = resolve(recipe, steps=(own.step,), backbone=backbone)
        overrides = settings_document(assignments).scope
        given = overrides.common.settings | overrides.steps.get(own.step, Section()).settings
        small = small_set_settings(unchanged.config, own.frames, given, source=f"{own.frames} frames of {name}_train")
    return dataclasses.replace(recipe, documents=(*documents, _document(own.step, small)))


def _open(name: str, root: Path) -> OwnSet:
    from idol_core.data.dataset import open_dataset  # imports numpy and the readers

    if find_layout(f"{name}_val", root) is None:
        splits = [split for split in split_names(root) if split.startswith(f"{name}@")]
        make = f"idolctl split make {name} --val-fraction .2 --seed 0, then idolctl run {name}@val20-seed0 ..."
        fix = f"idolctl run {splits[0]} ..." if splits else make
        raise InvalidInput(f"the set {name} has no part to validate on", where=str(root / f"{name}.yaml"), fix=fix)
    source = resolve_source(DataSource(f"{name}_train"), root)
    with transfer("reading annotations") as reading:
        dataset = open_dataset(source, on_read=reading.update)
    index = dataset.index
    kind: Literal["coco", "vis"] = "coco" if source.kind == "coco" else "vis"
    return OwnSet(name, kind, len(index.video_ids), int(index.first_frame[-1]), len(index.category_ids))


def _base(init: str | None, backbone: str | None) -> _Base:
    published = load_recipe(str(recipes_folder() / PUBLISHED)).documents
    entry: ZooEntry | None = next((entry for entry in load_zoo().weights if entry.name == init), None)
    whole = init != SCRATCH and (entry is None or entry.kind != "imagenet")
    told = init is not None and init != SCRATCH and (entry is None or entry.dataset is not None)
    try:
        carried = file_metadata(find_weights(str(init))).recipe if told else None
    except Missing:  # reported with all other problems of the plan
        carried = None
    if carried is None and entry is not None and entry.dataset:
        documents = load_recipe(entry.dataset).documents
        return _Base(documents, entry.backbone, f"those of recipe {entry.dataset}", whole)
    if carried is None:
        return _Base(published, entry.backbone if entry else None, "those of the published recipes", whole)
    if backbone is None and carried.backbone not in backbone_names():
        what = f"the weights were trained with backbone '{carried.backbone}', which is not a shipped one"
        raise InvalidInput(what, where=str(init), fix="--backbone FILE.yaml, which describes it")
    file = RecipeFile(Origin(str(init)), Scope(common=Section(_settings_of(carried, Origin(str(init))))))
    documents = (file,) if backbone else (RecipeFile(Origin(str(init))), file)  # a backbone goes over the first
    return _Base(documents, carried.backbone, f"those that {init} was trained with", True)


def _settings_of(config: StageConfig, origin: Origin) -> Settings:
    """All settings of a stage that training on other data can keep."""
    found: Settings = {}

    def walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for key, value in tree.items():
            inner = (*path, key)
            if inner in _NOT_KEPT:
                continue
            if isinstance(value, Mapping):
                walk(value, inner)
            else:
                found[inner] = Value(value, origin, ".".join(inner))

    walk(stage_to_dict(config), ())
    return found


def _only(document: RecipeFile, step: int) -> RecipeFile:
    """A recipe's document without its other steps."""

    def scope(whole: Scope) -> Scope:
        return Scope(whole.common, {s: section for s, section in whole.steps.items() if s == step})

    backbones = {name: scope(special) for name, special in document.backbones.items()}
    return dataclasses.replace(document, scope=scope(document.scope), backbones=backbones)


def _of_set(own: OwnSet, backbone: str | None) -> RecipeFile:
    data, classes = Origin(f"data set {own.name}"), Derived(f"the classes of {own.name}_train")
    settings = {
        ("model", "num_classes"): Value(own.classes, classes, "model.num_classes"),
        ("model", "embedding"): Value(True, data, "model.embedding"),
        ("data", "train", "name"): Value(f"{own.name}_train", data, "data.train.name"),
        ("data", "val", "name"): Value(f"{own.name}_val", data, "data.val.name"),
    }
    document = _document(own.step, settings)
    document.backbone = None if backbone is None else Entry("backbone", backbone, data)
    return document


def _document(step: int, settings: Settings) -> RecipeFile:
    return RecipeFile(Origin("data set"), Scope(steps={step: Section(settings)}))
