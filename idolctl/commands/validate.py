"""`idolctl validate RECIPE...`."""

from __future__ import annotations

from typing import Annotated

import typer

from idol_core.errors import IdolError
from idolctl.commands import complete, options
from idolctl.config.library import backbone_names, load_recipe
from idolctl.config.resolve import resolve
from idolctl.errors import raise_all

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=options.examples("idolctl validate toy ytvis19", "idolctl validate ovis --backbone swinl"))
def validate(
    recipes: Annotated[
        list[str], typer.Argument(help="Names of shipped recipes or YAML files.", autocompletion=complete.recipes)
    ],
    backbone: Annotated[
        str | None,
        typer.Option(help="Check with this backbone only; default: with all.", autocompletion=complete.backbones),
    ] = None,
) -> None:
    """Check every step of each recipe with every backbone; report all mistakes at once (exit 2)."""
    mistakes: list[IdolError] = []
    for name in recipes:
        found = _mistakes(name, [backbone] if backbone else backbone_names())
        mistakes.extend(found)
        if not found:
            print(f"{name}: valid")
    raise_all(mistakes)


def _mistakes(name: str, backbones: list[str]) -> list[IdolError]:
    found: list[IdolError] = []
    try:
        recipe = load_recipe(name)
        for backbone in backbones:
            try:
                resolve(recipe, steps=recipe.steps, backbone=backbone)
            except IdolError as error:
                found += getattr(error, "mistakes", [error])
    except IdolError as error:
        found.append(error)
    return found
