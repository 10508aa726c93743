"""`idolctl plan RECIPE`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import typer

from idolctl.commands import options
from idolctl.errors import Mistakes
from idolctl.runs.plan import Action
from idolctl.runs.report import plan_table
from idolctl.runs.run import Run, RunRequest, lacking, make_run, refuse_changes

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=options.Overridable, context_settings={"allow_extra_args": True})
def plan(
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
    as_json: options.JSON = False,
) -> None:
    """Show what `run` with the same options would do, and why. Writes nothing."""
    named, overrides, _ = options.sort_words(recipe, context.args, config_file)
    request = RunRequest(named, backbone, steps, tuple(settings or ()), runs_dir, name, root, init, force_step)
    show_plan(make_run(replace(request, config_file=config_file, overrides=overrides)), as_json)


def show_plan(run: Run, as_json: bool) -> None:
    """Print the plan and what it lacks; exit 2 if a step's weights belong to other settings."""
    actions = run.plan()
    missing = lacking(run, actions)
    if as_json:
        stages = [_as_dict(action) for action in actions]
        print(json.dumps({"run": str(run.folder), "stages": stages, "missing": [m.what for m in missing]}))
    else:
        print(f"run folder: {run.folder}\n{plan_table(actions)}")
        for problem in Mistakes(missing).mistakes if missing else ():
            print(f"missing: {problem.what} ({problem.where}); {problem.fix}")
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
    }
