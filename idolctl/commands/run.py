"""`idolctl run RECIPE`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import Annotated

import typer

from idolctl.commands import options
from idolctl.commands.plan import show_plan
from idolctl.launch.execute import execute
from idolctl.launch.slurm import print_jobs, submit
from idolctl.runs.processes import LaunchConfig, processes_here
from idolctl.runs.report import as_json as summary_json
from idolctl.runs.report import file_list, next_steps, score_table
from idolctl.runs.run import RunRequest, make_run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=options.Overridable, context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    recipe: options.RECIPE = None,
    config_file: options.CONFIG = None,
    backbone: options.BACKBONE = None,
    steps: options.STEPS = None,
    settings: options.SET = None,
    runs_dir: options.RUNS = None,
    name: options.NAME = None,
    root: options.ROOT = None,
    init: options.INIT = None,
    force_step: options.FORCE = None,
    launcher: options.LAUNCHER = None,
    gpus: options.GPUS = None,
    nodes: options.NODES = 1,
    rdzv_endpoint: options.ENDPOINT = None,
    partition: options.PARTITION = None,
    time_limit: Annotated[str | None, typer.Option("--time", help="Slurm's time limit of a job.")] = None,
    slurm: options.SLURM = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan only; write nothing.")] = False,
    as_json: options.JSON = False,
) -> None:
    """Train and evaluate the steps of a recipe, each from the one before; go on where an earlier run stopped.

    What stands after -- goes to torchrun.
    """
    started = time.monotonic()
    named, overrides, further = options.sort_words(recipe, context.args, config_file)
    processes, settings_of_slurm = 1 if gpus is None else gpus, tuple(slurm or ())
    launch = LaunchConfig(
        launcher or "local", processes, nodes, rdzv_endpoint, further, partition, time_limit, settings_of_slurm
    )
    request = RunRequest(named, backbone, steps, tuple(settings or ()), runs_dir, name, root, init, force_step, launch)
    made = make_run(replace(request, config_file=config_file, overrides=overrides))
    if dry_run:
        show_plan(made, as_json)
        return
    if gpus is None and not launch.grouped and launch.launcher == "local":
        launch = replace(launch, gpus=processes_here([stage.config for stage in made.stages]))
        made = replace(made, request=replace(made.request, launch=launch))
    if launch.launcher == "slurm":
        print_jobs(submit(made), made.folder, as_json)
        return
    outcome = execute(made)
    if not outcome.outputs:
        print("done; the first machine of the group has the files", file=sys.stderr)
        return
    outputs = outcome.outputs
    out = sys.stderr if as_json else sys.stdout
    if not outcome.worked:
        print(f"nothing to do: every step of {made.folder} is done with these settings", file=out)
    print(f"\n{score_table(made)}\n\n{file_list(outputs)}\n", file=out)
    for step in next_steps(made, outputs):
        print(f"Next: {step}", file=out)
    if as_json:
        print(json.dumps(summary_json(made, outputs, time.monotonic() - started)))
