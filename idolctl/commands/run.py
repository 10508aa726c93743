"""`idolctl run RECIPE`."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from idol_core.errors import IdolError
from idolctl.commands import options
from idolctl.commands.plan import show_plan
from idolctl.commands.run_options import HowToRun, WhatToRun, sort_words
from idolctl.launch.execute import execute
from idolctl.launch.slurm import print_jobs, submit
from idolctl.runs.outputs import PAGE, page_is_current
from idolctl.runs.processes import processes_here
from idolctl.runs.report import as_json as summary_json
from idolctl.runs.report import file_list, next_steps, score_table
from idolctl.runs.run import make_run
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def with_page(folder: Path, outputs: dict[str, Path]) -> dict[str, Path]:
    """Add the report page to the run's files, as the first one. If it can't be made, only warn."""
    page = folder / PAGE
    if page_is_current(folder):
        return {"report": page, **outputs}
    print("writing the report page", file=sys.stderr)
    try:
        from idolctl.evaluation.evaluate import EvalRequest  # numpy and scipy take a second to import
        from idolctl.report.make import report_runs

        for note in report_runs([folder], page, EvalRequest(None, folder.parent, None, (), None)):
            print(f"warning: {printable(note)}", file=sys.stderr)
    except Exception as error:  # of any kind: the run is done and its weights are saved
        with contextlib.suppress(OSError):
            page.unlink(missing_ok=True)  # the old page would be out of date
        what = f"{type(error).__name__}: {error}" if not isinstance(error, IdolError) else error.what
        print(f"warning: the report page could not be written: {' '.join(what.split())}", file=sys.stderr)
        print(f"Next: idolctl report {folder} --debug", file=sys.stderr)
        return outputs
    return {"report": page, **outputs}


@app.command(
    cls=options.Overridable,
    context_settings={"allow_extra_args": True},
    epilog=options.examples(
        "idolctl run toy",
        "idolctl run toy --steps 1,3 --set solver.seed=1 --name other",
        "idolctl run ytvis19 --backbone r50 --steps 1,2,3 --dry-run",
    ),
)
@options.spread
@options.spread
def run(
    context: typer.Context,
    what: WhatToRun,
    how: HowToRun,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only; write nothing.")] = False,
    as_json: options.JSON = False,
) -> None:
    """Train and evaluate the steps of a recipe, each starting from the one before; resume a stopped run.

    Arguments after -- are passed to torchrun.
    """
    started = time.monotonic()
    words = sort_words(what.recipe, context.args, what.config_file)
    launch = how.launch(words.further)
    made = make_run(replace(what.request(launch, words), log=how.trackers()))
    if dry_run:
        show_plan(made, as_json)
        return
    if how.gpus is None and not launch.grouped and launch.launcher == "local":
        launch = replace(launch, gpus=processes_here([stage.config for stage in made.stages]))
        made = replace(made, request=replace(made.request, launch=launch))
    if launch.launcher == "slurm":
        print_jobs(submit(made), made.folder, as_json)
        return
    outcome = execute(made)
    if not outcome.outputs:
        print("done; the first machine of the group has the files", file=sys.stderr)
        return
    outputs = with_page(made.folder, outcome.outputs)
    out = sys.stderr if as_json else sys.stdout
    if not outcome.worked:
        print(f"nothing to do: every step of {made.folder} is done with these settings", file=out)
    print(f"\n{score_table(made)}\n\n{file_list(outputs)}\n", file=out)
    for step in next_steps(made, outputs):
        print(f"Next: {step}", file=out)
    if as_json:
        print(json.dumps(summary_json(made, outputs, time.monotonic() - started)))
