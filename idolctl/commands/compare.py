"""`idolctl compare A B`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from idolctl.commands import complete, options
from idolctl.runs.compare import compare_runs, comparison_text
from idolctl.runs.find import RUNS, find_run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=options.examples("idolctl compare toy-tiny other"))
def compare(
    first: Annotated[str, typer.Argument(help="A run's name or folder.", autocompletion=complete.runs)],
    second: Annotated[str, typer.Argument(help="The run to compare it with.", autocompletion=complete.runs)],
    runs_dir: options.RUNS = None,
    as_json: options.JSON = False,
) -> None:
    """Show in which settings two runs differ, and what their steps scored."""
    home = runs_dir or RUNS
    runs = [find_run(name, home) for name in (first, second)]
    entries = compare_runs(*runs)
    if as_json:
        print(json.dumps({"runs": [str(run) for run in runs], "steps": entries}))
    else:
        print(comparison_text(entries, runs[0].name, runs[1].name))
