"""`idolctl submit DATASET`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from idol_core.config import Precision
from idol_core.data.catalog import find_layout, known_names
from idol_core.data.dataset import open_annotations
from idol_core.data.set_digest import results_fit
from idol_core.errors import InvalidInput, Missing
from idolctl.commands import complete, options
from idolctl.datasets.root import data_root
from idolctl.errors import suggestion
from idolctl.runs.find import RUNS, FoundStage, find_run, run_folders, stages_of
from idolctl.submission.pack import Package, check_target, pack
from idolctl.submission.results import read_videos
from idolctl.submission.servers import Server, find_server, local_truth
from idolctl.terminal.progress import say, transfer
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog=options.examples(
        "idolctl submit toy", "idolctl submit ovis --results results.json --annotations instances.json --fit"
    )
)
def submit(
    dataset: Annotated[
        str, typer.Argument(help="ytvis19, ytvis21, ovis, ovis@oracle, toy.", autocompletion=complete.data_sets)
    ],
    run: Annotated[
        str | None,
        typer.Option(
            help="A run's name or folder; default: the newest run that finished step 3 on this data set.",
            autocompletion=complete.runs,
        ),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="A results file instead of a run.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="The file that defines videos and categories.")] = None,
    out: Annotated[Path | None, typer.Option(help="The zip; default: submission.zip beside the results.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Keep the best N results of each video.")] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Keep results of at least this score.")] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Raise the minimum score until the zip is within the server's size limit.")
    ] = False,
    limit_mb: Annotated[
        float | None, typer.Option("--limit-mb", help="Size limit of the zip in MB; default: the server's.")
    ] = None,
    precision: options.PRECISION = None,
    runs_dir: options.RUNS = None,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Check every entry of the results and package them for the evaluation server.

    If the run has no results yet, inference runs first."""
    if run is not None and results is not None:
        raise InvalidInput("--run and --results can't be combined", where="command line", fix="give one of them")
    known = annotations or _annotations(dataset, data_root(root))
    videos = read_videos(known)
    if results is None:
        stage = _stage(dataset, run, runs_dir or RUNS)
        own = stage.validates_on in (f"{dataset}_val", "")
        arithmetic: Precision | None = precision.value if precision else None
        results = _results(stage, dataset, runs_dir or RUNS, root, arithmetic, None if annotations else known)
        beside = stage.run if own else results.parent
    else:
        beside = results.parent
    server = find_server(dataset)  # no server accepts a split
    limit = int(limit_mb * 1e6) if limit_mb is not None else server.limit if server else None
    target = out or beside / "submission.zip"
    check_target(target, known)
    with transfer(f"checking and packing {results.name}") as line:
        selection: Any = {"limit": limit, "top_k": top_k, "min_score": min_score, "fit": fit}
        package = pack(results, videos, target, **selection, progress=line.update)
    _tell(package, dataset, results, server, known, as_json)


def _annotations(dataset: str, root: Path) -> Path:
    layout = find_layout(f"{dataset}_val", root)
    if layout is None:
        known = [n.removesuffix("_val") for n in known_names(root) if n.endswith("_val")]
        fix = f"{suggestion(dataset, known)} or give --annotations FILE"
        raise InvalidInput(f"no data set '{dataset}'", where="command line", fix=fix)
    places = [root / place for place in layout.annotations]
    for place in places:
        if place.is_file():
            return place
    raise Missing(f"the annotations of {dataset}'s validation set were not found",
                  where=" or ".join(map(str, places)), fix="--root DIR or --annotations FILE")  # fmt: skip


def _stage(dataset: str, run: str | None, runs: Path) -> FoundStage:
    """The newest finished step 3 on the data set; a run given by name may be scored on other data."""
    folders = [find_run(run, runs)] if run else run_folders(runs)
    found = [s for f in folders for s in stages_of(f) if s.step == 3 and (run or s.validates_on == f"{dataset}_val")]
    ready = [s for s in found if s.state.done]
    if ready:
        return max(ready, key=lambda s: (s.validates_on == f"{dataset}_val", s.changed))
    fix = f"idolctl run {dataset.partition('@')[0]} --steps 1,2,3, or --results FILE"
    what = f"{run} has no finished step 3" if run else f"no run has a finished step 3 on {dataset}"
    begun = f" (begun: {', '.join(sorted(s.run.name for s in found))})" if found and not run else ""
    raise Missing(what + begun, where=str(run or runs), fix=fix)


def _results(
    stage: FoundStage, dataset: str, runs: Path, root: Path | None, precision: Precision | None, known: Path | None
) -> Path:
    """The stage's results on the data set; run inference if there are none, or if `precision` is given.

    `known`: the set's annotations, to whose ids the results must fit; None: the user named another file.
    """
    own = stage.state.folder / "results.json"
    if precision is None and own.is_file() and stage.validates_on in (f"{dataset}_val", ""):
        if known is None or results_fit(own.parent, open_annotations(known, "vis")):
            return own
        say(f"the videos or classes of {dataset} changed since {own} was written")
    from idolctl.evaluation.evaluate import EvalRequest, evaluate

    say(f"{stage.state.folder} has no results on {dataset}: running inference")
    asked = EvalRequest(dataset, runs, root, settings=(), device=None, precision=precision)
    return evaluate(str(stage.state.folder), asked).results


def _tell(package: Package, dataset: str, results: Path, server: Server | None, known: Path, as_json: bool) -> None:
    if not package.kept:
        print("warning: the submission has no results, so its score is 0", file=sys.stderr)
    if as_json:
        told = {key: str(v) if isinstance(v, Path) else v for key, v in dataclasses.asdict(package).items()}
        print(json.dumps(told | {"server": dataclasses.asdict(server) if server else None}))
        return
    path, source = printable(str(package.path)), printable(str(results))
    print(f"{path}  {package.size / 1e6:.2f} MB, {package.kept} results of {source}")
    print(f"{package.with_results} of {package.videos} videos have results")
    print(f"sha256 {package.sha256}")
    if package.dropped_to is not None:
        number = package.total - package.kept
        print(f"left out {number} of {package.total} results, with scores up to {package.dropped_to:.4f}")
    if server is None:
        print(f"no evaluation server is known for {dataset}; its scores are computed here: idolctl eval")
        return
    address = server.address or "no address"
    print(f"server (as known {server.as_of}): {address}, uploads up to {server.limit / 1e6:.0f} MB. {server.status}")
    if truth := local_truth(dataset, known):
        print(f"a score without the server: idolctl eval --results {results} --annotations {truth.file}")
        print(f"  {truth.told}")
