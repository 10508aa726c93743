"""`idolctl cp RECIPE DEST`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idol_core.errors import InvalidInput
from idol_core.system.files import write_aside
from idolctl.commands import complete, options
from idolctl.config.library import find_recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=options.examples("idolctl cp toy mine.yaml"))
def cp(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe's name, or a YAML file.", autocompletion=complete.recipes)
    ],
    dest: Annotated[Path, typer.Argument(help="File or folder to copy to.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Copy a recipe to a file of your own; the recipe it extends is still found from there."""
    source = find_recipe(recipe)
    target = dest / source.name if dest.is_dir() else dest
    if target.suffix not in (".yaml", ".yml"):
        raise InvalidInput(
            f"output must end in .yaml or .yml: {target}",
            where=str(dest),
            fix=f"idolctl cp {recipe} {dest}.yaml",
        )
    if target.exists() and not force:
        raise InvalidInput(f"{target} already exists", where=str(target), fix=f"idolctl cp {recipe} {dest} --force")
    with write_aside(target) as aside:
        aside.write_bytes(source.read_bytes())
    print(target)
    print(f"Next: edit it, then idolctl validate {target}, idolctl run {target}")
