"""Every command and code block of README, docs/ and the commands' help does what it says, on small stand-ins.

What is not here is replaced: the toy set is cut to a few clips, `runs/` holds a step 3 of one iteration, the mirror
holds a small random model under a published name, and `STAND_INS` names the commands that run in a shorter form.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from ruamel.yaml import YAML

from idol_core.build import build_model
from idol_core.config import InputConfig, StageConfig, TrackerConfig, stage_to_dict
from idol_core.data.exchange.formats import FORMATS
from idol_core.data.exchange.labels import LabelledClip, LabelledTrack, LabelSet, VideoFrames
from idol_core.video.writer import write_video
from idol_core.weights import save_weights
from idolctl.app import COMMANDS, main
from tests.cli.conftest import CHECKOUT
from tests.cli.mini import make_mini
from tests.parity import kit
from tests.processes import run_idolctl
from tests.unit.label_sets import made_labels, write_images
from tests.unit.tiny import tiny_config

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
FEW = ("--set", "solver.iterations=1", "--set", "solver.batch_size=2", "--set", "data.workers=0", "--gpus", "1")
SHORT = ("--set", "solver.iterations=1", "--set", "data.workers=0", "--gpus", "1")
SMALL = ("--set", "input.short_sides=[64]", "--set", "input.test_short_side=64", "--set", "input.crop.probability=0")
NOT_RUN = {
    "make": "sets up an environment; .ci/run calls make test",
    "pip": "installs; tests/cli/test_wheel.py does so from a wheel",
    "python": "a benchmark of minutes; the example, which tests/cli/test_export.py runs",
    ".venv/bin/python": "the test suite itself",
}
DRY = "trains for long, or needs data and machines that are not here: its plan is made"
STAND_INS = {
    r"idolctl publish toy-tiny --to hf:": (
        ["--help"],
        "goes to the hub; tests/cli/test_publish.py has one on loopback",
    ),
    r"idolctl fetch hf:": (["--dry-run"], "tests/cli/test_publish.py has a hub"),
    r"idolctl run toy --log wandb": (["--help"], "needs packages of extras; tests/unit/test_run_logs.py uses them"),
    r"idolctl run toy\b": (["--dry-run"], DRY),
    r"idolctl run (ytvis19|ytvis21|ovis)\b": (["--dry-run"], DRY),
    r"idolctl run --config-file": (["--dry-run"], DRY),
    r"idolctl run street@held .* --name longer": (["--dry-run"], DRY),
    r"idolctl run street": ([*SHORT, *SMALL], "trains for minutes; here for an iteration, on small frames"),
    r"idolctl split (fetch (oracle|ytvis19@oracle)|verify ovis@oracle)": (["--help"], "needs OVIS or a network"),
    r"idolctl fetch r50-step1": (["--dry-run"], "only Hugging Face has it; tests/cli/test_hub.py fetches"),
    r"idolctl predict (camera:0|rtsp:)": (["--help"], "needs a camera; tests/cli/test_live.py has streams on loopback"),
    r"idolctl export": (["--help"], "takes long; tests/cli/test_export.py exports, predicts and scores"),
    r"idolctl (predict|eval) .*toy\.onnx": (["--help"], "tests/cli/test_export.py exports, predicts and scores"),
    r"idolctl bench": (["--help"], "takes a while; tests/cli/test_bench.py runs it"),
    r"idolctl doctor --smoke": (["--help"], "trains in two processes; tests/cli/test_group_run.py runs it"),
}
ENDLESS = ("--watch", "--follow")  # such options are left out


def blocks(page: Path, language: str = "") -> list[str]:
    """The code blocks of a page that are marked with a language, or with none."""
    found: list[list[str]] = []
    fence: str | None = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fence = None if fence is not None else line.removeprefix("```")
            if fence == language:
                found.append([])
        elif fence == language:
            found[-1].append(line)
    return ["\n".join(block) for block in found]


def shell_lines(page: Path) -> list[str]:
    """The command lines of a page, comments taken off."""
    lines = (line.partition("  #")[0].strip() for block in blocks(page) for line in block.splitlines())
    return [part.strip() for line in lines if line for part in re.split(r"&&|;", line)]


def documented() -> list[str]:
    """Command lines of all pages, then the examples of all helps, each once."""
    lines = [line for page in PAGES for line in shell_lines(page)]
    for name in COMMANDS:
        app = importlib.import_module(f"idolctl.commands.{name}").app
        epilogs = [command.epilog or "" for command in app.registered_commands]
        lines += [part.strip() for e in epilogs for line in e.splitlines()[2:] for part in line.split("&&")]
    return list(dict.fromkeys(lines))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a small model under a published name, and a mirror that has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IDOLCTL_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    _weights(tmp_path)
    return tmp_path


@pytest.fixture
def workplace(home, toy_root):
    """What the pages take for granted: data, finished runs, a clip, files of the original."""
    _toy(home, toy_root / "toy")
    done = run_idolctl("run", "toy", "--steps", "3", "--name", "toy-tiny", *FEW, cwd=home, environment=os.environ)
    assert done.returncode == 0, done.stderr
    for copy in ("other", "seed0", "seed1", "seed2"):
        shutil.copytree("runs/toy-tiny", f"runs/{copy}")
    make_mini(home)
    shutil.copy("videos.json", "instances.json")
    (home / "results.json").write_text("[]")
    (home / "mine.yaml").unlink(missing_ok=True)
    moving = [np.full((48, 80, 3), 30 * t, np.uint8) for t in range(4)]
    write_video(home / "clip.mp4", iter(moving), rate=5)
    for number, frame in enumerate(moving):
        Image.fromarray(frame).save(home / "frames" / f"{number}.png")
    _labels(home)
    with open("ytvis19_r50.yaml", "w") as file:
        YAML(typ="safe", pure=True).dump(kit.document("configs")["ytvis19_r50.yaml"], file)
    return home


def _labels(home: Path) -> None:
    """A zip as labelme users have them, and CVAT's file of clip.mp4."""
    labels = made_labels(frames=2)
    FORMATS["labelme"].write(labels, home / "foxes")
    write_images(labels, home / "foxes")
    shutil.make_archive("labels", "zip", "foxes")
    track = LabelledTrack(0, "person", dict.fromkeys(range(4), ((5.0, 5.0, 30.0, 5.0, 20.0, 40.0),)))
    clip = LabelledClip("annotations", 48, 80, VideoFrames("clip.mp4", range(4)), (track,))
    FORMATS["cvat"].write(LabelSet((clip,), ("person",)), home)


def _toy(home: Path, made: Path) -> None:
    """The toy set with three videos and six images a part."""
    shutil.copytree(made, home / "datasets" / "toy", copy_function=os.link)
    for path in (home / "datasets" / "toy").rglob("*.json"):
        content = json.loads(path.read_text())
        for many, key, count in (("videos", "video_id", 3), ("images", "image_id", 6)):
            if many in content:
                content[many] = content[many][:count]
                kept = {entry["id"] for entry in content[many]}
                content["annotations"] = [a for a in content["annotations"] if a[key] in kept]
        path.unlink()  # it may be a link to the original
        path.write_text(json.dumps(content))


def _weights(home: Path) -> None:
    """A small random model of OVIS's 25 classes, in our form, in the original's, and under published names."""
    torch.manual_seed(0)
    config = StageConfig(
        "ovis", "tiny", 3, model=tiny_config(num_classes=25), tracker=TrackerConfig(batch_frames=4),
        input=InputConfig(test_short_side=64, test_max_size=128),
    )  # fmt: skip
    classes = YAML(typ="safe").load(CHECKOUT / "recipes" / "classes.yaml")["ovis"]
    metadata = {"recipe": json.dumps(stage_to_dict(config)), "classes": json.dumps(classes)}
    save_weights(home / "small.safetensors", build_model(config.model).state_dict(), metadata)
    assert main(["convert", "small.safetensors", "--to", "vnext", "--out", "model_final.pth"]) == 0
    (home / "mirror").mkdir()
    shutil.copy("model_final.pth", home / "mirror" / "ovis-r50.pth")


def test_every_documented_command_works(workplace, capsys):
    failed = []
    for line in documented():
        words = shlex.split(line)
        if words[0] in NOT_RUN:
            continue
        assert words[0] == "idolctl", f"{line}: neither a command of ours nor one of {sorted(NOT_RUN)}"
        added = next((more for pattern, (more, _) in STAND_INS.items() if re.match(pattern, line)), [])
        if main([*(word for word in words[1:] if word not in ENDLESS), *added]):
            failed.append(f"{line}\n{capsys.readouterr().err[-1000:]}")
    assert not failed, "\n\n".join(failed)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, home):
    assert main(["fetch", "ovis-r50"]) == 0
    frames = [np.full((48, 80, 3), 30 * t, np.uint8) for t in range(4)]
    names = {
        "frames": frames, "frames_until_now": frames[:2], "frames_from_now_on": frames[2:],
        "camera_a": frames, "camera_b": frames[:3], "show": lambda masks: None,
    }  # fmt: skip
    for block in blocks(page, "python"):
        exec(block.replace('device="cuda"', 'device="cpu"'), names)


def test_commands_within_sentences_have_the_options_that_are_named():
    wrong = []
    for page in PAGES:
        for text in re.findall(r"`(idolctl [^`]+)`", page.read_text(encoding="utf-8")):
            words = text.split()[1:]
            if words[0] not in COMMANDS:
                wrong += [f"{page.name}: {text}"] if words[0][0].islower() else []  # idolctl COMMAND, idolctl --help
                continue
            command = typer.main.get_command(importlib.import_module(f"idolctl.commands.{words[0]}").app)
            command = getattr(command, "commands", {}).get(words[1] if words[1:] else "", command)
            known = {"--help"}.union(*(o.opts + o.secondary_opts for o in command.params))
            wrong += [f"{page.name}: {text}" for word in words if word.startswith("--") and word not in known]
    assert not wrong, wrong


def test_the_recipes_shown_are_valid(tmp_path):
    shown = [block for page in PAGES for block in blocks(page, "yaml")]
    assert shown
    for number, block in enumerate(shown):
        (tmp_path / f"{number}.yaml").write_text(block)
        assert main(["validate", str(tmp_path / f"{number}.yaml")]) == 0


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_in_the_readme_names_every_room():
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("## The tree")[2]
    for package in ("idolctl", "idol_core"):
        for room in (p.parent.name for p in (CHECKOUT / package).glob("*/__init__.py")):
            assert f"{room}/`" in text, f"{package}/{room} is not in the README's tree"
