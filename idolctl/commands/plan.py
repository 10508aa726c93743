"""`idolctl plan RECIPE`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from idolctl.commands import options
from idolctl.commands.run_options import WhatToRun, sort_words
from idolctl.errors import Mistakes
from idolctl.runs.estimate import GIB, estimate_text, estimates
from idolctl.runs.plan import Action
from idolctl.runs.processes import LaunchConfig
from idolctl.runs.report import derived_settings, plan_table
from idolctl.runs.run import Run, make_run, obstacles, refuse_changes
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    cls=options.Overridable,
    context_settings={"allow_extra_args": True},
    epilog=options.examples(
        "idolctl plan toy", "idolctl plan ovis --backbone swinl --steps 3", "idolctl plan toy --steps 1 --estimate"
    ),
)
@options.spread
def plan(
    context: typer.Context,
    what: WhatToRun,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Memory, time and largest micro-batch, from a few real steps here.")
    ] = False,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="GIB", help="Count memory for a GPU of that size instead; needs no GPU."),
    ] = None,
    as_json: options.JSON = False,
) -> None:
    """Show what `run` with the same options would do, and why. Writes nothing."""
    words = sort_words(what.recipe, context.args, what.config_file)
    run = make_run(what.request(LaunchConfig(), words))
    if not estimate and gpu_memory is None:
        show_plan(run, as_json)
        return
    configs = [action.stage.config for action in run.plan() if action.kind != "skip"]
    found = estimates(configs, run.root, gpu_memory=None if gpu_memory is None else gpu_memory * GIB)
    if as_json:
        show_plan(run, as_json, [each.as_dict() for each in found])
        return
    show_plan(run, as_json)
    for each in found:
        print(f"\n{estimate_text(each)}", flush=True)


def show_plan(run: Run, as_json: bool, estimated: list[dict[str, Any]] | None = None) -> None:
    """Print the plan and what would stop it later; exit 2 if a step's weights were trained with other settings.

    `estimated` is added to the JSON.
    """
    actions = run.plan()
    problems = obstacles(run, actions)
    if as_json:
        stages = [_as_dict(action) for action in actions]
        content = {"run": str(run.folder), "stages": stages, "problems": [p.what for p in problems]}
        print(json.dumps(content if estimated is None else content | {"estimates": estimated}))
    else:
        print(f"run folder: {run.folder}\n{plan_table(actions)}")
        for problem in Mistakes(problems).mistakes if problems else ():
            print(printable(f"problem: {problem.what} ({problem.where}); {problem.fix}"))
    refuse_changes(run, actions)


def _as_dict(action: Action) -> dict[str, Any]:
    stage = action.stage
    return {
        "step": stage.step,
        "stage": stage.chain,
        "action": action.kind,
        "reason": action.reason,
        "changes": list(action.changes),
        "inferred": stage.resolved.inferred,
        "derived": {name: {"value": v, "from": source} for name, (v, source) in derived_settings(stage).items()},
    }
