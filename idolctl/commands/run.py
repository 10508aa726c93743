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
from idolctl.execute import execute
from idolctl.job import Request, make_job
from idolctl.launch.ranks import Ranks, processes_here
from idolctl.launch.slurm import print_jobs, submit
from idolctl.summary import as_json as summary_json
from idolctl.summary import file_list, next_steps, score_table

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
    ranks = Ranks(
        launcher or "local", processes, nodes, rdzv_endpoint, further, partition, time_limit, settings_of_slurm
    )
    request = Request(named, backbone, steps, tuple(settings or ()), runs_dir, name, root, init, force_step, ranks)
    job = make_job(replace(request, config_file=config_file, overrides=overrides))
    if dry_run:
        show_plan(job, as_json)
        return
    if gpus is None and not ranks.grouped and ranks.launcher == "local":
        ranks = replace(ranks, gpus=processes_here([stage.config for stage in job.stages]))
        job = replace(job, request=replace(job.request, ranks=ranks))
    if ranks.launcher == "slurm":
        print_jobs(submit(job), job.folder, as_json)
        return
    outcome = execute(job)
    if not outcome.outputs:
        print("done; the first machine of the group has the files", file=sys.stderr)
        return
    outputs = outcome.outputs
    out = sys.stderr if as_json else sys.stdout
    if not outcome.worked:
        print(f"nothing to do: every step of {job.folder} is done with these settings", file=out)
    print(f"\n{score_table(job)}\n\n{file_list(outputs)}\n", file=out)
    for step in next_steps(job, outputs):
        print(f"Next: {step}", file=out)
    if as_json:
        print(json.dumps(summary_json(job, outputs, time.monotonic() - started)))
