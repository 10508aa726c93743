"""`idolctl logs RUN`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from idol_core.errors import Integrity, InvalidInput, Missing
from idolctl.commands import complete, options
from idolctl.runs.find import RUNS, find_run, stages_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)
POLL_SECONDS = 0.3


@app.command(epilog=options.examples("idolctl logs toy-tiny", "idolctl logs toy-tiny --step 3 --lines 100"))
def logs(
    run: Annotated[str, typer.Argument(help="A run's name or folder.", autocompletion=complete.runs)],
    step: Annotated[int | None, typer.Option(help="Step to show; default: the one that wrote its state last.")] = None,
    rank: Annotated[str, typer.Option(help="Rank to show, or 'launcher'.")] = "0",
    lines: Annotated[int, typer.Option(help="Number of last lines; 0: all.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until Ctrl-C.")] = False,
    runs_dir: options.RUNS = None,
) -> None:
    """Print the log of a step's processes."""
    path = _log(find_run(run, runs_dir or RUNS), step, rank)
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.readlines()
        sys.stdout.writelines(text[-lines:] if lines else text)
        while follow:
            sys.stdout.flush()
            new = file.read()
            sys.stdout.write(new)
            if not new:
                time.sleep(POLL_SECONDS)


def _log(run: Path, step: int | None, rank: str) -> Path:
    stages = [s for s in stages_of(run) if step in (None, s.step)]
    if not stages:
        known = sorted({str(s.step) for s in stages_of(run)})
        if not known:
            what = f"no stage of {run.name} has a readable stage.json"
            raise Integrity(what, where=str(run), fix="read the files in its logs folders")
        raise InvalidInput(f"{run.name} has no step {step}", where="--step", fix=f"it has {', '.join(known)}")
    folder = stages[0].state.folder / "logs"
    path = folder / (f"rank{rank}.log" if rank.isdigit() else f"{rank}.log")
    if not path.is_file():
        there = ", ".join(sorted(p.stem.removeprefix("rank") for p in folder.glob("*.log")))
        raise Missing(
            f"no log of '{rank}'", where=str(folder), fix=f"--rank {there}" if there else "wait until it has started"
        )
    return path
