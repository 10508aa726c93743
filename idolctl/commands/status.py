"""`idolctl status [RUN...]`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from idolctl.commands import complete, options
from idolctl.runs.find import RUNS, find_run
from idolctl.runs.status import as_json as standing_json
from idolctl.runs.status import standing_table, standings
from idolctl.terminal.text import printable, printable_lines, unescaped

app = typer.Typer(add_completion=False, rich_markup_mode=None)
WATCH_SECONDS = 2.0


@app.command(epilog=options.examples("idolctl status", "idolctl status toy-tiny --watch"))
def status(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Names or folders of runs; default: all.", autocompletion=complete.runs)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until Ctrl-C.")] = False,
    runs_dir: options.RUNS = None,
    as_json: options.JSON = False,
) -> None:
    """Show the status and progress of each step of runs."""
    home = runs_dir or RUNS
    names = [find_run(name, home) for name in runs or ()]
    if watch:
        _watch(home, names)
        return
    found = standings(home, names)
    if as_json:
        print(json.dumps(standing_json(found)))
    elif found:
        print(standing_table(found))
    else:
        print(f"no runs below {printable(str(home))}\n\nNext: idolctl run toy")


def _watch(home: Path, names: list[Path]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=unescaped(sys.stdout))
    if not console.is_terminal:
        while True:
            print(standing_table(standings(home, names)), flush=True)
            time.sleep(WATCH_SECONDS)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(Text(printable_lines(standing_table(standings(home, names))), no_wrap=True), refresh=True)
            time.sleep(WATCH_SECONDS)
