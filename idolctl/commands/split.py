"""`idolctl split make|verify|fetch`."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from typing import Annotated, Any

import typer

from idol_core.data.catalog import LAYOUTS, is_built_in
from idol_core.errors import InvalidInput
from idol_core.system.files import write_aside
from idolctl.commands import complete, options
from idolctl.datasets.root import data_root, make_toy_data
from idolctl.datasets.splits import FOLDER, PUBLISHED, Split, make_split, read_split, refuse_leaks
from idolctl.errors import suggestion
from idolctl.terminal.table import table
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.callback()
def split() -> None:
    """Divide labelled sets by video; check and fetch splits."""


@app.command(
    epilog=options.examples(
        "idolctl split make toy --val-fraction .25", "idolctl split make mine --seed 1 --name second"
    )
)
def make(
    base: Annotated[
        str,
        typer.Argument(
            help="The set whose training side is divided: ovis, ytvis19, toy, your own.",
            autocompletion=complete.data_sets,
        ),
    ],
    val_fraction: Annotated[
        float, typer.Option("--val-fraction", help="Fraction of the videos used for validation, between 0 and 1.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Random seed of the split.")] = 0,
    name: Annotated[str | None, typer.Option(help="The split's name; default: valFRACTION-seedN.")] = None,
    group: Annotated[
        str,
        typer.Option(
            metavar="folder|none|EXPRESSION",
            help="Images that stay on one side: those of a folder, none, or whose names match a regex alike.",
        ),
    ] = FOLDER,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Split a training set by video, with class proportions kept on both sides; then usable as BASE@NAME."""
    if not 0 < val_fraction < 1:
        raise InvalidInput(f"--val-fraction {val_fraction} is not between 0 and 1", where="command line",
                           fix="--val-fraction .2")  # fmt: skip
    name = name or f"val{round(100 * val_fraction)}-seed{seed}"
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or "@" in base:
        raise InvalidInput(f"'{base}@{name}' is not a valid split name", where="command line", fix="--name mysplit")
    if f"{base}@{name}_train" in LAYOUTS:
        raise InvalidInput(f"'{base}@{name}' is a built-in split", where="command line", fix="--name mysplit")
    place = data_root(root)
    if base == "toy":
        make_toy_data(place)
    made = make_split(base, name, place, val_fraction=val_fraction, seed=seed, group=group)
    _tell(made, as_json)
    if not as_json:
        own = "" if is_built_in(base) else f"idolctl run {made.name} --init ovis-r50; "
        print(f"\nNext: {own}idolctl eval RUN --data {made.name}, or in a recipe: "
              f"data: {{train: {{name: {made.name}_train}}, val: {{name: {made.name}_val}}}}")  # fmt: skip


@app.command(epilog=options.examples("idolctl split verify toy@val25-seed0"))
def verify(
    name: Annotated[
        str,
        typer.Argument(
            help="BASE@SPLIT, such as ovis@oracle, or any set with train and val.", autocompletion=complete.data_sets
        ),
    ],
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Check that no video is on both sides (else exit 4) and that all are in the full set; count classes."""
    found = read_split(name, data_root(root))
    _tell(found, as_json)
    refuse_leaks(found)
    if not as_json:
        print("no video is on both sides")


@app.command(epilog=options.examples("idolctl split fetch oracle"))
def fetch(
    name: Annotated[str, typer.Argument(help="ovis@oracle (or just oracle) or ytvis19@oracle.")] = "oracle",
    mirror: Annotated[
        list[str] | None,
        typer.Option(help="URL or folder that contains the split's folder."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use the cache and mirror folders only.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without data before a retry.")] = 30.0,
    source: options.SOURCE = None,
    root: options.ROOT = None,
) -> None:
    """Download the published oracle split of a training set and install its annotation files below the data root."""
    from idolctl.terminal.progress import transfer
    from idolctl.zoo.entries import ZooFolder, load_zoo
    from idolctl.zoo.fetch_folder import fetch_folder
    from idolctl.zoo.sources import mirrors

    name = "ovis@oracle" if name == "oracle" else name
    if name not in PUBLISHED:
        raise InvalidInput(f"no published split '{name}'", where="command line", fix=suggestion(name, PUBLISHED))
    entry = load_zoo().find("oracle_split" if name == "ovis@oracle" else "oracle_split_ytvis19")
    assert isinstance(entry, ZooFolder)
    how: dict[str, Any] = {"offline": offline, "timeout": timeout, "first": source.value if source else None}
    with transfer(entry.name) as line:
        fetched = fetch_folder(entry, mirrors(mirror or []), progress=line.update, **how)
    place = data_root(root)
    for side in ("train", "val"):
        target = place / LAYOUTS[f"{name}_{side}"].annotations[0]
        with write_aside(target) as aside:
            shutil.copyfile(fetched.path / target.name, aside)
        print(printable(str(target)))
    print(f"\nNext: idolctl split verify {name}")


def _tell(found: Split, as_json: bool) -> None:
    if as_json:
        content = dataclasses.asdict(found) | {"files": [str(f) for f in found.files]}
        print(json.dumps(content))
        return
    print(f"{printable(found.name)}  sha256 {found.digest}")
    for side, file in zip((found.train, found.val), found.files, strict=True):
        print(f"  {side.videos} videos, {side.tracks} objects  {printable(str(file))}")
    rows = [(c, n, found.val.per_class.get(c, 0)) for c, n in found.train.per_class.items()]
    print("\nvideos with an object of each class\n" + table(("class", "train", "val"), rows))
    for which, side in (("train", found.train), ("val", found.val)):
        lacking = [c for c, n in side.per_class.items() if not n]
        if lacking:
            shown = ", ".join(lacking[:10]) + (", ..." if len(lacking) > 10 else "")
            print(f"note: {which} has no {printable(shown)}", file=sys.stderr)
    for note in found.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
