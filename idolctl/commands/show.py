"""`idolctl show RECIPE`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from idol_core.config import stage_to_dict
from idolctl.commands import complete, options
from idolctl.config.dump_yaml import as_yaml
from idolctl.config.library import load_recipe
from idolctl.config.resolve import Resolved, resolve

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog=options.examples("idolctl show toy --step 3", "idolctl show ytvis19 --backbone swinl --set solver.lr=5e-5")
)
def show(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name, or a YAML file.", autocompletion=complete.recipes)
    ],
    backbone: options.BACKBONE = None,
    step: Annotated[int | None, typer.Option(help="1, 2 or 3; default: all steps of the recipe.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the resolved settings as YAML, each with the file and line it comes from."""
    loaded = load_recipe(recipe)
    steps = loaded.steps if step is None else (step,)
    stages = resolve(loaded, steps=steps, backbone=backbone, assignments=settings or ())
    if as_json:
        print(json.dumps({"stages": [_as_dict(stage) for stage in stages]}))
    else:
        print("---\n".join(as_yaml(stage) for stage in stages), end="")


def _as_dict(stage: Resolved) -> dict[str, object]:
    origins = {".".join(path): str(value.origin) for path, value in stage.settings.items()}
    return {"config": stage_to_dict(stage.config), "origins": origins, "inferred": stage.inferred}
