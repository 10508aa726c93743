"""`idolctl report RUN...` and `idolctl report --results FILE --annotations FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from idol_core.errors import InvalidInput
from idolctl.commands import complete, options
from idolctl.runs.find import RUNS, find_run
from idolctl.runs.outputs import PAGE
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog=options.examples(
        "idolctl report toy-tiny",
        "idolctl report toy-tiny other --out both.html",
        "idolctl report --results results.json --annotations instances.json --frames frames",
    )
)
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="One or more runs; clips are shown from the first one only.", autocompletion=complete.runs),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="SET or SET@SPLIT; default: the run's validation set.", autocompletion=complete.data_sets),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Report on this results file instead of a run.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="The ground truth of --results.")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Folder of the frames; without it the page has no pictures.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page; default: report.html in the run's folder, or here for several runs.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write each chart as SVG into DIR too.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps, if --data needs inference.")] = None,
    runs_dir: options.RUNS = None,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Write one HTML page: scores, causes of lost AP, identity metrics, classes, clips (worst first), curves, settings.

    The page needs no other file and no network.
    """
    if (results is None) == (not runs):
        raise InvalidInput("name runs, or give --results FILE", where="command line",
                           fix="idolctl report RUN, or idolctl report --results FILE --annotations FILE")  # fmt: skip
    if (results is None) != (annotations is None) or (results is None and frames is not None):
        raise InvalidInput("--results, --annotations and --frames go together", where="command line",
                           fix="idolctl report --results FILE --annotations FILE")  # fmt: skip
    if out is not None and out.suffix not in (".html", ".htm"):
        raise InvalidInput(f"{out} must end in .html", where="--out", fix=f"--out {out}.html")
    from idolctl.evaluation.evaluate import EvalRequest  # numpy and scipy take a second to import
    from idolctl.report.cards import make_cards
    from idolctl.report.collect import RunFacts
    from idolctl.report.make import read_runs
    from idolctl.report.page import write_page
    from idolctl.report.plots import write_plots
    from idolctl.report.subject import of_files

    if results is not None and annotations is not None:
        if data is not None:
            raise InvalidInput("--data applies to runs only", where="command line", fix="leave out --data")
        facts, subjects, notes = list[RunFacts](), [of_files(results, annotations, frames)], list[str]()
        page = out or Path(PAGE)
    else:
        home = runs_dir or RUNS
        folders = [find_run(name, home) for name in runs or ()]
        facts, subjects, notes = read_runs(folders, EvalRequest(data, home, root, (), device))
        page = out or (folders[0] / PAGE if len(folders) == 1 else Path(PAGE))
    for note in notes:
        print(f"warning: {printable(note)}", file=sys.stderr)
    write_page(page, facts, subjects, make_cards(subjects[0]) if subjects else [], notes)
    written = write_plots(plots, facts, subjects) if plots is not None else []
    said = f"{page}  ({page.stat().st_size / 1e6:.1f} MB)"
    if plots is not None:
        said += f"\n{len(written)} charts in {plots}"
    print(f"{said}\n\nNext: open it in a browser", file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps({"report": str(page.resolve()), "plots": [str(path.resolve()) for path in written]}))
