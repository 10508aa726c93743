"""`idolctl doctor`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from idolctl.commands import options
from idolctl.datasets.root import data_root
from idolctl.doctor import as_text, examine
from idolctl.launch.execute import execute
from idolctl.runs.find import RUNS
from idolctl.runs.processes import LaunchConfig
from idolctl.runs.run import RunRequest, make_run

app = typer.Typer(add_completion=False, rich_markup_mode=None)
SMOKE = (
    "solver.iterations=20", "solver.milestones=[]", "solver.batch_size=4", "solver.micro_batches=2",
    "solver.checkpoint_every=10", "input.short_sides=[64]", "input.test_short_side=64",
)  # fmt: skip


@app.command(epilog=options.examples("idolctl doctor", "idolctl doctor --smoke"))
def doctor(
    smoke: Annotated[bool, typer.Option("--smoke", help="Train 20 iterations in 2 processes, then evaluate.")] = False,
    root: options.ROOT = None,
    runs_dir: options.RUNS = None,
    as_json: options.JSON = False,
) -> None:
    """Show versions, devices, extras, places with free space, data sets and weights; paste it into a bug report."""
    sections = examine(data_root(root), runs_dir or RUNS)
    if smoke:
        sections["smoke"] = _smoke(root)
    print(json.dumps(sections) if as_json else as_text(sections))
    if not smoke:
        print("\nNext: idolctl doctor --smoke, idolctl run toy", file=sys.stderr)


def _smoke(root: Path | None) -> dict[str, object]:
    """Train step 1 of toy in a temporary folder. Raises IdolError with the exit code of a failure."""
    with tempfile.TemporaryDirectory(prefix="idolctl-smoke-") as folder:
        request = RunRequest(
            "toy", steps="1", assignments=SMOKE, runs=Path(folder), root=root, launch=LaunchConfig(gpus=2)
        )
        run = make_run(request)
        execute(run)
        state = run.state(run.stages[0])
        return {"2 processes, 20 iterations and evaluation": f"done in {state.seconds:.1f} s"}
