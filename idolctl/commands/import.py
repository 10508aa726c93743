"""`idolctl import FILE -o RECIPE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from idol_core.errors import InvalidInput
from idol_core.system.files import write_aside
from idolctl.commands import options
from idolctl.config.detectron2_recipe import import_config, recipe_text

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    cls=options.Overridable,
    epilog=options.examples(
        "idolctl import ytvis19_r50.yaml -o recipe.yaml", "idolctl import ytvis19_r50.yaml SOLVER.MAX_ITER 16000"
    ),
)
def import_(
    config_file: Annotated[Path, typer.Argument(metavar="FILE", help="A detectron2-style YAML configuration.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY VALUE]...", help="Override settings of the file: SOLVER.BASE_LR 1e-4."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The recipe to write; default: standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Convert a configuration of the original IDOL code to a one-step recipe; detectron2 is not needed."""
    imported = import_config(config_file, overrides or ())
    text = recipe_text(imported)
    for key, reason in imported.unread.items():
        print(f"note: {key} has no effect here: {reason}", file=sys.stderr)
    if out is None:
        print(text, end="")
        return
    if out.suffix not in (".yaml", ".yml"):
        raise InvalidInput(f"output must end in .yaml or .yml: {out}", where="-o", fix=f"-o {out}.yaml")
    if out.exists() and not force:
        raise InvalidInput(f"{out} already exists", where=str(out), fix="--force replaces it")
    with write_aside(out) as aside:
        aside.write_text(text, encoding="utf-8")
    print(out)
    print(f"Next: idolctl validate {out}, idolctl run {out}")
