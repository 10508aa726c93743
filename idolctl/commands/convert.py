"""`idolctl convert FILE --to idolctl|vnext --out FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from idol_core.errors import Integrity, InvalidInput
from idolctl.commands import complete, options
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Layout(StrEnum):
    """Parameter names and file format: ours or those of the original code."""

    idolctl = "idolctl"
    vnext = "vnext"


@app.command(
    epilog=options.examples(
        "idolctl convert model_final.pth --to idolctl --out mine.safetensors",
        "idolctl convert runs/toy-tiny/weights.safetensors --to vnext --out toy.pth",
    )
)
def convert(
    file: Annotated[Path, typer.Argument(help="IDOL weights: the authors' (.pth) or ours (.safetensors).")],
    to: Annotated[Layout, typer.Option(help="idolctl: our safetensors; vnext: a checkpoint for the original code.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="The recipe it was trained with, for settings and classes; default: the published one.",
            autocompletion=complete.recipes,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Convert weights from the original code's layout to ours, or back; list missing and unexpected tensors."""
    if out.exists() and not force:
        raise InvalidInput(f"{out} already exists", where=str(out), fix="--force replaces it")
    from idol_core.weights import convert_file  # brings torch
    from idolctl.zoo.metadata import metadata_by

    done = convert_file(file, to.value, out, describe=lambda model: metadata_by(file.name, recipe, model))
    print(f"mapped {len(done.mapped)} tensors, missing {len(done.missing)}, unexpected {len(done.unexpected)}")
    _list("missing", done.missing)
    _list("unexpected, left out", done.unexpected)
    if done.missing:
        what = f"{len(done.missing)} tensors of the model are missing; nothing was written"
        raise Integrity(what, where=str(file), fix="fetch or train the weights again")
    print(printable(str(out)))
    if to is Layout.idolctl and done.config.embedding:
        print(f"Next: idolctl predict VIDEO --weights {printable(str(out))}")


def _list(kind: str, names: Sequence[str]) -> None:
    for name in names:
        print(f"  {kind}: {printable(name)}")
