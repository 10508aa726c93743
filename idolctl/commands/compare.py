"""`idolctl compare A B`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from idolctl.commands import complete, options
from idolctl.runs.compare import compare_runs, comparison_text
from idolctl.runs.find import RUNS, find_run
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog=options.examples("idolctl compare toy-tiny other", "idolctl compare toy-tiny other --details --plots charts")
)
def compare(
    first: Annotated[str, typer.Argument(help="A run's name or folder.", autocompletion=complete.runs)],
    second: Annotated[str, typer.Argument(help="The run to compare it with.", autocompletion=complete.runs)],
    details: Annotated[
        bool, typer.Option("--details", help="Show error types, identity metrics and AP by object group side by side.")
    ] = False,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write SVG charts into DIR, each with the curves of both runs.")
    ] = None,
    runs_dir: options.RUNS = None,
    as_json: options.JSON = False,
) -> None:
    """Show the settings in which two runs differ, and the scores of each step."""
    home = runs_dir or RUNS
    runs = [find_run(name, home) for name in (first, second)]
    entries = compare_runs(*runs)
    text = comparison_text(entries, runs[0].name, runs[1].name)
    if details:
        from idolctl.evaluation.evaluate import EvalRequest  # numpy and scipy take a second to import
        from idolctl.report.make import read_runs
        from idolctl.report.text import side_by_side

        _, subjects, notes = read_runs(runs, EvalRequest(None, home, None, (), None))
        for note in notes:
            print(f"warning: {printable(note)}", file=sys.stderr)
        text += f"\n\n{side_by_side(subjects)}"
    written = []
    if plots is not None:
        from idolctl.report.collect import collect_run
        from idolctl.report.plots import write_plots

        written = write_plots(plots, [collect_run(run) for run in runs], [])
        text += f"\n\n{len(written)} charts in {printable(str(plots))}"
    print(text, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(
            json.dumps(
                {"runs": [str(run) for run in runs], "steps": entries, "plots": [str(p.resolve()) for p in written]}
            )
        )
