"""`idolctl publish RUN --to DIR|hf:USER/NAME`."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from idol_core.errors import InvalidInput
from idolctl.commands import complete, options
from idolctl.runs.find import RUNS
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")


@app.command(epilog=options.examples("idolctl publish toy-tiny --to published"))
def publish(
    run: Annotated[
        str, typer.Argument(help="A run, a folder of a step, or a weights file of ours.", autocompletion=complete.runs)
    ],
    to: Annotated[str, typer.Option(metavar="DIR|hf:USER/NAME", help="A new folder, or a Hugging Face repository.")],
    license_id: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights, as in apache-2.0 or cc-by-nc-4.0.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    runs_dir: options.RUNS = None,
    as_json: options.JSON = False,
) -> None:
    """Publish a run's weights with recipe, scores and a model card, for others to load by name.

    Look at the card in a folder first. Paths of this machine are left out.
    """
    if license_id and not _LICENSE.fullmatch(license_id):
        raise InvalidInput(f"'{license_id}' is no licence's id", where="--license", fix="--license apache-2.0")
    from idolctl.publish import publish as work

    done = work(run, to, runs=runs_dir or RUNS, license_id=license_id, private=private)
    if as_json:
        print(json.dumps({"where": done.where, "name": done.name, "files": done.files}))
        return
    print(f"{printable(done.where)}: {', '.join(done.files)}")
    print(f"Next: idolctl predict VIDEO --weights {printable(done.name)}"
          + (f" (after idolctl fetch {done.name})" if to.startswith("hf:") else ""))  # fmt: skip
