"""The kinds of files that are fuzzed, and the commands that read each."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import torch

from idol_core.config import DataSource
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import open_dataset
from idol_core.engine.checkpoint import load_newest
from idol_core.weights import open_weights
from idolctl.config.library import recipes_folder
from tests.soak import mutators
from tests.soak.runner import Command, Make, Unchanged
from tests.soak.valid import SMALL


def _changed(rng: Random, valid: Path, target: Path, change) -> str:
    content = valid.read_bytes()
    target.write_bytes(content if isinstance(rng, Unchanged) else change(content, rng))
    return str(target)


def vis_annotations(rng: Random, home: Path, work: Path) -> list[Command]:
    """YouTube-VIS annotation files."""
    file = _changed(rng, home / "videos.json", work / "videos.json", mutators.change_json)
    results = str(home / "results.json")
    return [
        ["eval", "--results", results, "--annotations", file, *rng.choice(([], ["--per-video"], ["--occlusion"]))],
        ["submit", "ovis", "--results", results, "--annotations", file, "--out", str(work / "o.zip")],
        *_own_set(home, work, file),
    ]


def coco_annotations(rng: Random, home: Path, work: Path) -> list[Command]:
    """COCO instances files."""
    file = _changed(rng, home / "images.json", work / "images.json", mutators.change_json)
    results = str(home / "image_results.json")
    return [["eval", "--results", results, "--annotations", file], *_own_set(home, work, file)]


def _own_set(home: Path, work: Path, file: str) -> list[Command]:
    root = str(work / "data")
    added = ["data", "add", "own", "--frames", str(home / "frames"), "--annotations", file, "--root", root]

    def read_as_training_does() -> None:
        kind = "vis" if Path(file).name == "videos.json" else "coco"
        source = DataSource(kind=kind, frames=str(home / "frames"), annotations=file)
        open_dataset(resolve_source(source, work))

    return [added, read_as_training_does]


def results(rng: Random, home: Path, work: Path) -> list[Command]:
    """Results of videos, and of images."""
    if rng.random() < 0.3:
        file = _changed(rng, home / "image_results.json", work / "image_results.json", mutators.change_json)
        return [["eval", "--results", file, "--annotations", str(home / "images.json")]]
    file = _changed(rng, home / "results.json", work / "results.json", mutators.change_json)
    known = ["--annotations", str(home / "videos.json")]
    return [
        [
            "submit",
            "ovis",
            "--results",
            file,
            *known,
            "--out",
            str(work / "o.zip"),
            *rng.choice(([], ["--top-k", "2"])),
        ],
        ["eval", "--results", file, *known, *rng.choice(([], ["--per-video"]))],
    ]


def recipes(rng: Random, home: Path, work: Path) -> list[Command]:
    """Recipes."""
    valid = home / rng.choice(("mini.yaml", "toy.yaml", "ovis.yaml"))
    file = _changed(rng, valid, work / "recipe.yaml", mutators.change_yaml)
    shutil.copytree(recipes_folder() / "bases", work / "bases")
    return [
        ["validate", file, "--backbone", "tiny"],
        ["show", file, "--backbone", "tiny"],
        *([["plan", file, "--backbone", "tiny", "--root", str(home)]] if rng.random() < 0.2 else []),
    ]


def detectron2(rng: Random, home: Path, work: Path) -> list[Command]:
    """Configurations in detectron2's form, and what they are based on."""
    which = rng.random() < 0.7
    for name, own in (("base.yaml", not which), ("detectron2.yaml", which)):
        if own:
            _changed(rng, home / name, work / name, mutators.change_yaml)
        else:
            shutil.copy(home / name, work / name)
    return [["import", str(work / "detectron2.yaml"), "-o", str(work / "made.yaml"), "--force"]]


def labels(rng: Random, home: Path, work: Path) -> list[Command]:
    """Labels of other tools: one file of a format's folder, or the folder as a zip."""
    form = rng.choice(sorted(path.name for path in (home / "labels").iterdir()))
    shutil.copytree(home / "labels" / form, work / "in")
    files = sorted(path for path in (work / "in").rglob("*") if path.is_file())
    written = [path for path in files if path.suffix != ".jpg" and path.stat().st_size]
    file = rng.choice(written)
    changes = {".json": mutators.change_json, ".yaml": mutators.change_yaml}
    _changed(rng, file, file, changes.get(file.suffix, mutators.change_bytes))
    source = work / "in"
    if rng.random() < 0.2:
        source = Path(shutil.make_archive(str(work / "in"), "zip", work / "in"))
        _changed(rng, source, source, mutators.change_bytes)
    found = [] if rng.random() < 0.3 else ["--format", form]
    return [["data", "import", str(source), "--name", "own", *found, "--root", str(work / "data")]]


_CHANGES = {
    "own.safetensors": mutators.change_safetensors,
    "published.pth": mutators.change_archive,
    "old.pth": mutators.change_bytes,
    "arrays.pkl": mutators.change_bytes,
}


def weights(rng: Random, home: Path, work: Path) -> list[Command]:
    """Weights files: ours, the published layout as a zip and as a bare pickle, arrays of detectron2."""
    name = rng.choice(list(_CHANGES))
    file = _changed(rng, home / name, work / name, _CHANGES[name])
    if name == "arrays.pkl":  # of a backbone: there is nothing to convert

        def open_arrays() -> None:
            open_weights(Path(file))

        return [open_arrays]
    made = {"idolctl": "made.safetensors", "vnext": "made.pth"}
    to = rng.choice(list(made))
    commands: list[Command] = [
        ["convert", file, "--to", to, "--out", str(work / made[to]), "--recipe", str(home / "mini.yaml")]
    ]
    if name == "own.safetensors":
        commands.append(
            ["predict", str(home / "frames/v0"), "--weights", file, "--out", str(work / "o"), "--save", "json"]
        )
    return commands


def checkpoints(rng: Random, home: Path, work: Path) -> list[Command]:
    """Checkpoints of a stage: damaged ones are passed over."""
    folder = work / "checkpoints"
    shutil.copytree(_stage(home) / "checkpoints", folder)
    before, newest = sorted(folder.glob("*.pt"))
    _changed(rng, newest, newest, mutators.change_archive)
    like = torch.load(before, weights_only=True)

    def load() -> None:
        found, _ = load_newest(folder, like=like, warn=lambda text: None)
        if found is None:
            raise AssertionError("the checkpoint before the damaged one was not found")

    return [load]


def state(rng: Random, home: Path, work: Path) -> list[Command]:
    """Files by which a run knows how far it is."""
    runs = work / "runs"
    shutil.copytree(home / "runs", runs, ignore=shutil.ignore_patterns("*.pt", "tensorboard"))
    stage = next((runs / "mini").glob("*/stage.json")).parent
    names = [
        "stage.json",
        "state.json",
        "metrics.jsonl",
        "evaluation.json",
        "../.holder.json",
        "../environment.json",
        "../outputs.json",
    ]
    valid = stage / rng.choice([name for name in names if (stage / name).is_file()])
    by_lines = valid.suffix == ".jsonl"
    _changed(rng, valid, valid, _change_lines if by_lines else mutators.change_json)
    where = ["--runs-dir", str(runs)]
    recipe = ["--steps", "3", "--init", "none", "--root", str(home), "--name", "mini"]
    recipe += [word for setting in SMALL for word in ("--set", setting)]
    commands: list[Command] = [
        ["status", *where],
        ["ls", "runs", *where],
        ["compare", str(runs / "mini"), str(home / "runs" / "mini")],
        ["plan", str(home / "mini.yaml"), *recipe, *where],
        ["logs", "mini", *where],
        ["eval", "mini", *where, "--root", str(home)],
    ]
    return [commands[0], commands[1], rng.choice(commands[2:])]


def _change_lines(content: bytes, rng: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = mutators.change_json(lines[at], rng) + b"\n"
    return b"".join(lines)


def _stage(home: Path) -> Path:
    return next((home / "runs" / "mini").glob("*/stage.json")).parent


KINDS: dict[str, Make] = {
    "vis-annotations": vis_annotations,
    "coco-annotations": coco_annotations,
    "results": results,
    "recipes": recipes,
    "detectron2": detectron2,
    "weights": weights,
    "checkpoints": checkpoints,
    "state": state,
    "labels": labels,
}
