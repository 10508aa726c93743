"""Combine recipe, backbone, step and --set into one StageConfig; every value keeps its file and line.

Order, later wins: defaults (idol_core.config) < recipe < backbone < step < --set. A recipe that extends another one
overrides all of it: your own file wins over the recipe it builds on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from idol_core.config import StageConfig
from idol_core.errors import IdolError, InvalidInput
from idolctl.config.constraints import check_stage
from idolctl.config.library import Recipe, backbone_names, load_backbone
from idolctl.config.load_yaml import COMMAND_LINE, Origin
from idolctl.config.overrides import settings_document
from idolctl.config.recipe_file import RecipeFile, Scope, Section
from idolctl.config.schema import Settings, Value, fill_defaults, overlay, unknown_key, validated
from idolctl.errors import raise_all

_BATCH = ("solver", "batch_size")


@dataclass(frozen=True)
class Resolved:
    """One step, ready to train; `settings` has every value with its place; `inferred` is the note if unpublished.

    `recipe_batch` is the recipe's solver.batch_size where --set changed it.
    """

    config: StageConfig
    settings: Settings
    inferred: str | None
    recipe_batch: int | None = None


def resolve(
    recipe: Recipe, *, steps: Sequence[int], backbone: str | None = None, assignments: Sequence[str] = ()
) -> list[Resolved]:
    """Combine all layers for every step and check the result.

    Raises Mistakes with every error in the recipe, those it extends, the backbone and the assignments.
    """
    for step in steps:
        if step not in recipe.steps:
            fix = f"--steps {','.join(map(str, recipe.steps))}"
            raise InvalidInput(f"recipe {recipe.name} has no step {step}", where=str(recipe.path), fix=fix)
    backbone = backbone or recipe.backbone
    base, overrides = load_backbone(backbone), settings_document(assignments)
    mistakes = [m for d in (*recipe.documents, base, overrides) for m in d.mistakes]
    mistakes += _unknown_backbones(recipe, backbone)
    found = [_resolve(recipe, base, _stem(backbone), step, overrides, mistakes) for step in steps]
    raise_all(mistakes)
    return found


def _unknown_backbones(recipe: Recipe, backbone: str) -> Iterator[InvalidInput]:
    """Errors for settings of a backbone that is neither shipped, nor in use, nor a file beside the recipe."""
    known = {*backbone_names(), _stem(backbone), _stem(recipe.backbone)}
    for entry in (entry for document in recipe.documents for entry in document.backbone_entries):
        if entry.key not in known and not (recipe.path.parent / f"{entry.key}.yaml").is_file():
            yield unknown_key(entry, f"backbones.{entry.key}", known)


def _resolve(
    recipe: Recipe, base: RecipeFile, backbone: str, step: int, overrides: RecipeFile, mistakes: list[IdolError]
) -> Resolved:
    settings: Settings = {}
    inferred: str | None = None
    recipe_batch: int | None = None
    for section in _sections((*recipe.documents, overrides), base, backbone, step):
        given, before = section.settings.get(_BATCH), settings.get(_BATCH)
        if given is not None and before is not None and given.origin == COMMAND_LINE and type(before.value) is int:
            recipe_batch = before.value
        settings = overlay(settings, section.settings)
        inferred = section.inferred or inferred
    for key, value in (("recipe", recipe.name), ("backbone", backbone), ("step", step)):
        settings[(key,)] = Value(value, Origin("command line"), key)
    filled = fill_defaults(settings, mistakes)
    config, doubtful = validated(filled, mistakes)
    check_stage(config, filled, doubtful, mistakes)
    return Resolved(config, filled, inferred, recipe_batch)


def _sections(documents: Sequence[RecipeFile], backbone: RecipeFile, name: str, step: int) -> Iterator[Section]:
    for i, document in enumerate(documents):
        special = document.backbones.get(name, Scope())
        yield document.scope.common
        if i == 0:
            yield backbone.scope.common
        yield special.common
        if i == 0:
            yield backbone.scope.steps.get(step, Section())
        yield document.scope.steps.get(step, Section())
        yield special.steps.get(step, Section())


def _stem(backbone: str) -> str:
    return backbone.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
