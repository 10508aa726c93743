"""`idolctl data check|add|import|export`."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from idol_core.data.dataset import Dataset
from idol_core.data.exchange.formats import FORMATS, READERS
from idol_core.data.exchange.labels import LabelSet
from idol_core.errors import IdolError, InvalidInput
from idolctl.commands import complete, options
from idolctl.datasets.add import SideFiles, add_set, example_recipe
from idolctl.datasets.check import Line, SideReport, check_side, describe, remarks, sides_of
from idolctl.datasets.root import data_root, make_toy_data
from idolctl.errors import raise_all, suggestion
from idolctl.signals import stoppable
from idolctl.submission.servers import local_truth
from idolctl.terminal.progress import ProgressLine
from idolctl.terminal.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Kind(StrEnum):
    """Annotation formats."""

    coco = "coco"
    vis = "vis"


@app.callback()
def data() -> None:
    """Check data sets on disk; add your own; import and export labels of other tools."""


@app.command(epilog=options.examples("idolctl data check toy", "idolctl data check toy --deep"))
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="ytvis19, ovis, ovis@oracle, coco, toy, your own, or one side: ovis_val.",
            autocompletion=complete.data_sets,
        ),
    ],
    deep: Annotated[bool, typer.Option("--deep", help="Open every frame.")] = False,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """List the expected files, marked found or missing, and compare their counts with the published sizes."""
    place = data_root(root)
    if name.startswith("toy") and "@" not in name:
        make_toy_data(place)
    reports, errors = [], list[IdolError]()
    for side in sides_of(name, place):
        report = _with_way_to_score(check_side(side, place, on_progress=ProgressLine(side).update if deep else None))
        reports.append(report)
        errors += report.errors
    if as_json:
        parts = [{"name": r.name, "ok": not r.errors, "lines": [asdict(line) for line in r.lines]} for r in reports]
        print(json.dumps({"root": str(place), "ok": not errors, "parts": parts}))
    else:
        _tree(place, reports)
    sys.stdout.flush()
    raise_all(errors)


@app.command(epilog=options.examples("idolctl data add mine --frames frames --annotations instances.json"))
def add(
    name: Annotated[str, typer.Argument(help="Name of the new set; recipes refer to NAME_train and NAME_val.")],
    frames: Annotated[Path, typer.Option(help="Folder that the file names in the annotations are relative to.")],
    annotations: Annotated[Path, typer.Option(help="A YouTube-VIS or COCO instances file.")],
    val_frames: Annotated[
        Path | None, typer.Option("--val-frames", help="Frames of the validation side; default: --frames.")
    ] = None,
    val_annotations: Annotated[
        Path | None,
        typer.Option(
            "--val-annotations",
            help="Annotations of the validation side; if you have none, use idolctl split make NAME.",
        ),
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Annotation format; default: detected from the file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing description of that name.")] = False,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Register your own data set under a name, in a YAML file in the data root; use it like a built-in set."""
    if val_frames and not val_annotations:
        raise InvalidInput("--val-frames needs --val-annotations", where="command line", fix="--val-annotations FILE")
    place = data_root(root)
    val = SideFiles(val_frames or frames, val_annotations) if val_annotations else None
    path, opened = add_set(name, place, kind=kind, train=SideFiles(frames, annotations), val=val, force=force)
    if as_json:
        parts = {part: describe(d) for part, d in opened.items()}
        told = {part: remarks(d) for part, d in opened.items()}
        print(json.dumps({"file": str(path), "parts": parts, "remarks": told}))
        return
    print(printable(str(path)))
    _registered(name, opened, has_val=val is not None)


@app.command("import", epilog=options.examples("idolctl data import labels.zip --name foxes --force"))
def import_(
    source: Annotated[Path, typer.Argument(help="Labels of another tool: a file, a folder or a zip.")],
    name: Annotated[str, typer.Option(help="Name of the new set; recipes refer to NAME_train.")],
    form: Annotated[
        str | None, typer.Option("--format", help=f"One of {', '.join(READERS)}; default: detected.")
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Folder of frames, or the video, that the labels are of; default: beside them.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a data set of that name.")] = False,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Convert the labels of another tool or data set to a set of your own, with track identities; register it."""
    if form is not None:
        _check_format(form, READERS)
    from idolctl.datasets.import_labels import import_labels  # brings PyAV

    with stoppable("run the same command again"):
        found = import_labels(source, name, data_root(root), format=form, frames=frames, force=force)
    counts = _counts(found.labels)
    if as_json:
        content = {"file": str(found.file), "format": found.format, "tracked": found.labels.tracked, **counts}
        print(json.dumps(content | {"classes": found.classes, "left_out": found.labels.left_out}))
        return
    print(f"{found.format}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    print("  classes: " + printable(", ".join(f"{what} {number}" for what, number in found.classes.items())))
    for sentence in found.labels.left_out:
        print(f"  ! {printable(sentence)}")
    if not found.labels.tracked:
        print("  ! no identities: the frames are images, for steps 1 and 2 only")
    print(printable(str(found.file)))
    _registered(name, found.opened, has_val=False)


@app.command(
    epilog=options.examples(
        "idolctl data export toy_val --format cvat --out labels",
        "idolctl data export results.json --data toy_val --format coco --out labels-coco",
    )
)
def export(
    target: Annotated[
        str, typer.Argument(help="A data set or a side of it, or a results file.", autocompletion=complete.data_sets)
    ],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the labels; must be empty or not there.")],
    data: Annotated[
        str | None,
        typer.Option(help="Data set of a results file; names its frames.", autocompletion=complete.data_sets),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Minimum score of a results file's tracks.")] = 0.3,
    root: options.ROOT = None,
    as_json: options.JSON = False,
) -> None:
    """Write a data set, or a model's results, as labels of another tool: a labeller's first draft."""
    _check_format(form, FORMATS)
    from idolctl.datasets.export_labels import export_data, export_results  # brings PyAV

    place = data_root(root)
    with stoppable("run the same command again"):
        if Path(target).is_file():
            labels, files = export_results(Path(target), place, out, format=form, data=data, threshold=threshold)
        else:
            labels, files = export_data(target, place, out, format=form)
    counts = _counts(labels)
    if as_json:
        print(json.dumps({"format": form, "files": list(map(str, files)), **counts, "left_out": labels.left_out}))
        return
    print(f"{form}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    for sentence in labels.left_out:
        print(f"  ! {printable(sentence)}")
    for file in files:
        print(f"  {printable(str(file))}")


def _check_format(name: str, known: Collection[str]) -> None:
    if name not in known:
        what = f"'{name}' labels are read, not written" if name in READERS else f"'{name}' is not a label format"
        raise InvalidInput(what, where="--format", fix=suggestion(name, known))


def _counts(labels: LabelSet) -> dict[str, int]:
    return {
        "clips": len(labels.clips),
        "frames": sum(clip.length for clip in labels.clips),
        "tracks": sum(len(clip.tracks) for clip in labels.clips),
        "masks": sum(len(track.masks) for clip in labels.clips for track in clip.tracks),
    }


def _registered(name: str, opened: Mapping[str, Dataset], *, has_val: bool) -> None:
    """Print what training will get of a new set, a recipe for it and the next commands."""
    for part, dataset in opened.items():
        print(f"  {part}  {describe(dataset)}")
        for remark in remarks(dataset):
            print(f"    ! {printable(remark)}")
    first = opened[f"{name}_train"]
    print("\nA recipe that trains on it, for changes of your own (save it as a .yaml file):\n")
    print(example_recipe(name, first.kind, has_val=has_val, classes=len(first.category_ids)))
    split, whole = ("", name) if has_val else (f"idolctl split make {name}, then ", f"{name}@val20-seed0")
    print(f"\nNext: idolctl data check {name} --deep; {split}idolctl run {whole} --init ovis-r50, or RECIPE.yaml")


def _with_way_to_score(report: SideReport) -> SideReport:
    """The report, with a line about the published ground truth of a set whose annotations have no masks."""
    truth = local_truth(report.name.removesuffix("_val"), report.unscored) if report.unscored else None
    if truth is None:
        return report
    line = Line(True, "truth", f"no masks, so no scores; {truth.told}", remark=True)
    return replace(report, lines=(*report.lines, line))


def _tree(root: Path, reports: list[SideReport]) -> None:
    print(f"data root {printable(str(root))}")
    for place, report in enumerate(reports):
        last = place == len(reports) - 1
        print(f"{'└' if last else '├'}── {report.name}" if _can_print("└├─") else report.name)
        for line in report.lines:
            bar = " " if last or not _can_print("│") else "│"
            print(f"{bar}   {_mark(line)} {line.part:12} {printable(line.text)}")


def _mark(line: Line) -> str:
    if line.remark:
        return "!"
    tick, cross = ("✓", "✗") if _can_print("✓✗") else ("ok", "--")
    return tick if line.ok else cross


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
