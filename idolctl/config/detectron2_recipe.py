"""Convert a detectron2 configuration to a recipe: in memory, to run it, or as YAML text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idol_core.errors import IdolError, InvalidInput
from idol_core.yacs import translate
from idol_core.yacs.names import backbone_name
from idolctl.config.detectron2_yaml import ConfigFile, read_config_file
from idolctl.config.dump_yaml import aligned, nested
from idolctl.config.library import Recipe
from idolctl.config.load_yaml import Entry, Origin, shown_path
from idolctl.config.recipe_file import RecipeFile, Scope, Section
from idolctl.config.resolve import resolve
from idolctl.config.schema import Settings, Value
from idolctl.errors import raise_all

_DEFAULT = Origin("default")


@dataclass(frozen=True)
class Imported:
    """A one-step recipe, and the keys of the file that have no effect here, each with the reason."""

    recipe: Recipe
    step: int
    backbone: str
    unread: dict[str, str]


def import_config(path: Path, overrides: Sequence[str] = ()) -> Imported:
    """Read a configuration and its `_BASE_` files. Every setting keeps the line and key it comes from.

    Raises Mistakes with every key or value that is unknown, of the wrong type or not supported here.
    """
    source = read_config_file(path, overrides)
    settings, mistakes = _settings(source)
    raise_all(mistakes)
    step, backbone = int(settings.pop(("step",)).value), backbone_name(source.config)
    origin = Origin(shown_path(path))
    document = RecipeFile(
        origin,
        Scope(steps={step: Section(settings)}),
        about=f"imported from {path.name}",
        backbone=Entry("backbone", backbone, origin),
    )
    unread = translate(source.config).unread
    return Imported(Recipe(path.stem, path, (document,)), step, backbone, unread)


def _settings(source: ConfigFile) -> tuple[Settings, list[IdolError]]:
    translation = translate(source.config)
    mistakes = list(source.mistakes)
    for key, what, fix in translation.problems:
        note = "" if key in source.given else " (the default, as no file sets it)"
        mistakes.append(InvalidInput(what + note, where=source.where(key), fix=fix))
    settings: Settings = {}
    for path, (value, key) in translation.settings.items():
        origin = source.given.get(key, _DEFAULT)
        settings[tuple(path.split("."))] = Value(value, origin, key)
    return settings, mistakes


def recipe_text(imported: Imported) -> str:
    """The recipe as YAML; settings from a file have its line and key as a comment, the others are defaults.

    Raises Mistakes if settings contradict each other.
    """
    resolve(imported.recipe, steps=[imported.step])
    (document,) = imported.recipe.documents
    settings = document.scope.steps[imported.step].settings
    values = {path: (setting.value, _note(setting)) for path, setting in settings.items()}
    head = f"about: {document.about}\nbackbone: {imported.backbone}\nsteps:\n  {imported.step}:\n"
    return head + aligned(nested(_by_section(values), depth=2))


def _note(setting: Value) -> str:
    origin = setting.origin
    if origin == _DEFAULT:
        return ""
    place = f"{Path(origin.file).name}:{origin.line}" if origin.line else origin.file
    return f"# {place} {setting.name}"


def _by_section(values: dict[tuple[str, ...], tuple[object, str]]) -> dict[tuple[str, ...], tuple[object, str]]:
    """Reorder settings so that those of a section or subsection are adjacent; otherwise keep the order."""
    order: dict[tuple[str, ...], int] = {}
    for path in values:
        for depth in range(1, len(path)):
            order.setdefault(path[:depth], len(order))
    return dict(sorted(values.items(), key=lambda item: [order[item[0][:d]] for d in range(1, len(item[0]))]))
