"""`idolctl ls [recipes|zoo|datasets|splits|runs]`."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from idol_core.evaluation import METRICS
from idolctl.commands import options
from idolctl.config.listing import RecipeRow, recipe_rows
from idolctl.datasets.check import set_rows
from idolctl.datasets.root import data_root
from idolctl.datasets.splits import split_rows
from idolctl.runs.find import RUNS
from idolctl.runs.status import list_runs
from idolctl.terminal.table import table
from idolctl.terminal.text import printable
from idolctl.zoo.listing import ZooRow, zoo_rows

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class What(StrEnum):
    """What can be listed."""

    recipes = "recipes"
    zoo = "zoo"
    datasets = "datasets"
    splits = "splits"
    runs = "runs"


@app.command(epilog=options.examples("idolctl ls zoo", "idolctl ls runs --json"))
def ls(
    what: Annotated[What, typer.Argument(help="What to list.")] = What.recipes,
    root: options.ROOT = None,
    runs_dir: options.RUNS = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List recipes, published weights (zoo), data sets, splits or runs."""
    if what is What.recipes:
        _recipes(recipe_rows(), as_json)
    elif what is What.zoo:
        _zoo(zoo_rows(), as_json)
    elif what is What.runs:
        list_runs(runs_dir or RUNS, as_json)
    elif what is What.datasets:
        _datasets(data_root(root), as_json)
    else:
        _splits(data_root(root), as_json)


def _recipes(rows: list[RecipeRow], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"recipes": [row.as_dict() for row in rows]}))
        return
    headers = ("recipe", "backbone", "steps", "learns from", "classes", "about")
    print(table(headers, [(r.name, r.backbone, r.steps, r.data, r.classes, r.about) for r in rows]))
    print(
        "\nInferred, because nobody published the figures (idolctl show RECIPE --backbone B --step N says from what):"
    )
    width = max(len(row.name) for row in rows)
    for row in rows:
        for note in row.inferred:
            print(f"  {row.name:{width}}  {printable(note)}")
    print("\nNext: idolctl show toy, idolctl run toy")


def _zoo(rows: list[ZooRow], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"zoo": [row.as_dict() for row in rows]}))
        return
    cells = [
        (r.name, r.backbone, r.made_by, *((r.scores or {}).get(m) for m in METRICS), r.megabytes, r.cached, r.hash)
        for r in rows
    ]
    print(table(("name", "backbone", "what", *METRICS, "MB", "cached", "sha256"), cells))
    for row in rows:
        if row.probable:
            print(f"{row.name} is probable, not certain: {row.probable}")
        if row.trained_by:
            print(f"{row.name} was announced but never published; this trains it: {row.trained_by}")
    print("\nScores are the published ones. Next: idolctl fetch NAME")


def _datasets(root: Path, as_json: bool) -> None:
    rows = set_rows(root)
    if as_json:
        print(json.dumps({"root": str(root), "datasets": [asdict(row) for row in rows]}))
        return
    there = [(r.name, r.kind, "yes" if r.found else "no", r.frames, r.annotations) for r in rows]
    print(table(("data set", "kind", "there", "frames", "annotations"), there))
    print("\nNext: idolctl data check NAME, idolctl data add NAME --frames DIR --annotations FILE")


def _splits(root: Path, as_json: bool) -> None:
    rows = split_rows(root)
    if as_json:
        print(json.dumps({"root": str(root), "splits": [asdict(row) for row in rows]}))
        return
    cells = [(r.name, r.made, r.train, r.val, r.sha256[:16] if r.sha256 else None, r.folder) for r in rows]
    print(table(("split", "made", "train", "val", "sha256", "folder"), cells))
    print("\nNext: idolctl split make SET, idolctl split verify SPLIT, idolctl split fetch oracle")
