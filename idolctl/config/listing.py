"""Rows of `idolctl ls recipes`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from idolctl.config.library import Recipe, backbone_names, load_recipe, recipe_names
from idolctl.config.resolve import resolve


@dataclass(frozen=True)
class RecipeRow:
    """One recipe: its default backbone, steps, data sets and classes by step, and which steps are inferred."""

    name: str
    backbone: str
    steps: str
    data: str
    classes: str
    about: str
    inferred: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def recipe_rows() -> list[RecipeRow]:
    """All shipped recipes, by name."""
    return [_row(load_recipe(name)) for name in recipe_names()]


def _row(recipe: Recipe) -> RecipeRow:
    stages = [r.config for r in resolve(recipe, steps=recipe.steps)]
    return RecipeRow(
        name=recipe.name,
        backbone=recipe.backbone,
        steps=",".join(str(s.step) for s in stages),
        data=" ".join(dict.fromkeys(s.data.train.name or "own" for s in stages)),
        classes=" ".join(dict.fromkeys(str(s.model.num_classes) for s in stages)),
        about=recipe.about,
        inferred=tuple(_inferred(recipe)),
    )


def _inferred(recipe: Recipe) -> list[str]:
    names = backbone_names()
    found: dict[int, list[str]] = {}
    for name in names:
        for resolved in resolve(recipe, steps=recipe.steps, backbone=name):
            if resolved.inferred:
                found.setdefault(resolved.config.step, []).append(name)
    every = "every backbone"
    return [f"step {s} with {every if len(b) == len(names) else ', '.join(b)}" for s, b in sorted(found.items())]
