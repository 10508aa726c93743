"""`idolctl run SET --init WEIGHTS`: settings of the weights, classes and schedule of the set."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import ColorConfig, InputConfig, SolverConfig, StageConfig, TimmConfig
from idol_core.metadata import to_metadata
from idol_core.weights import save_weights
from idolctl.runs.small_sets import small_set_settings
from tests.processes import run_idolctl
from tests.unit.data_sets import small_images, small_videos
from tests.unit.tiny import tiny_config

WEIGHTS = StageConfig(
    "theirs", "tiny", 3, model=tiny_config(num_classes=3),
    input=InputConfig(short_sides=(64,), max_size=96, test_short_side=64, test_max_size=96, color=ColorConfig(0.8)),
    solver=SolverConfig(iterations=900, milestones=(300, 600), lr=3e-4, checkpoint_every=50),
)  # fmt: skip


@pytest.fixture
def own(tmp_path, call):
    """The set `mine` (11 frames, classes `first` and `second`) and the split `mine@val20-seed0`; weights of others."""
    small_videos(tmp_path / "clips")
    files = ("--frames", tmp_path / "clips/frames", "--annotations", tmp_path / "clips/instances.json")
    assert call("data", "add", "mine", *files)[0] == 0
    code, out, _ = call("split", "make", "mine")
    assert code == 0
    assert "Next: idolctl run mine@val20-seed0 --init ovis-r50" in out
    torch.manual_seed(0)
    state = build_model(WEIGHTS.model).state_dict()
    save_weights(tmp_path / "theirs.safetensors", state, to_metadata(WEIGHTS, ["second", "third", "fourth"]))
    return call


def plan(own, *options, name="mine@val20-seed0"):
    code, out, err = own("plan", name, *options, "--json")
    assert code == 0, err
    (stage,) = json.loads(out.splitlines()[-1])["stages"]
    return {name: found["value"] for name, found in stage["derived"].items()}


def test_a_plan_lists_what_follows_from_a_small_set_with_its_source(own):
    code, out, _ = own("plan", "mine@val20-seed0", "--init", "theirs.safetensors")
    assert code == 0
    source = "from 7 frames of mine@val20-seed0_train"
    for line in (
        f"solver.iterations 110, {source}",
        f"model.freeze stem, stage1, {source}",
        f"solver.pretrained_lr_factor 0.5, {source}",
        f"solver.batch_size 8, {source}",
        "model.num_classes 2, from the classes of mine@val20-seed0_train",
        "all other settings are those that theirs.safetensors was trained with",
    ):
        assert f"step 3: {line}" in out
    assert "color" not in out, "the weights were trained with random colors already"


def test_a_split_of_labels_that_have_changed_since_is_told_with_the_command_that_makes_it_again(own, tmp_path):
    labels = tmp_path / "clips/instances.json"
    plan, again = ("plan", "mine@val20-seed0", "--init", "theirs.safetensors"), "idolctl split make mine"
    os.utime(labels)  # touched, not changed
    assert again not in own(*plan)[2]
    content = json.loads(labels.read_text())
    content["annotations"][0]["iscrowd"] = 1
    labels.write_text(json.dumps(content))
    err = own(*plan)[2]
    assert f"again: {again} --val-fraction 0.2 --seed 0 --name val20-seed0" in err
    assert err.count(again) == 1
    assert own(*shlex.split(err[err.index(again) :].splitlines()[0])[1:])[0] == 0
    assert again not in own(*plan)[2]


def test_validation_on_what_is_trained_on_is_told(own, tmp_path):
    told = "of mine_val (video 1 (v1), video 2 (v2), video 3 (v3)) have frames that are trained on"
    labels = tmp_path / "clips/instances.json"
    own(
        "data",
        "add",
        "mine",
        "--frames",
        tmp_path / "clips/frames",
        "--annotations",
        labels,
        "--val-annotations",
        labels,
        "--force",
    )
    code, _, err = own("plan", "mine", "--init", "theirs.safetensors")
    assert (code, err.count(f"3 of 3 videos or images {told}")) == (0, 1)
    assert "trained on" not in own("plan", "mine@val20-seed0", "--init", "theirs.safetensors")[2]


def test_an_explicit_setting_wins_and_others_follow_it(own):
    init = ("--init", "theirs.safetensors")
    found = plan(own, *init, "--set", "solver.iterations=30", "--set", "model.freeze=[]", "--set", "solver.lr=1e-5")
    assert not found.keys() & {"solver.iterations", "model.freeze"}
    assert (found["solver.milestones"], found["solver.checkpoint_every"]) == ([10, 20], 7)
    assert "solver.batch_size" not in plan(own, *init, "--set", "steps.3.solver.batch_size=16")


def test_published_weights_bring_their_recipe_and_a_set_must_have_two_parts(own, tmp_path):
    code, out, err = own("plan", "mine@val20-seed0", "--init", "ovis-r50")
    assert code == 0
    assert "all other settings are those of recipe ovis" in out
    assert "run folder: runs/mine@val20-seed0-r50" in out
    assert "idolctl fetch ovis-r50" in out
    assert plan(own, "--init", "ovis-r50").keys() > {"input.color.hue", "solver.milestones"}
    assert plan(own, "--init", "none", "--set", "model.backbone.freeze_at=0").keys() == {"model.num_classes"}
    code, _, err = own("plan", "mine", "--init", "ovis-r50")
    assert code == 2
    assert "fix: idolctl run mine@val20-seed0" in err
    code, _, err = own("plan", "mnie@val20-seed0")
    assert code == 2
    assert "did you mean 'mine@val20-seed0'?" in err
    small_images(tmp_path / "pictures", height=40, width=50)
    both = [tmp_path / "pictures/instances.json"] * 2
    files = ("--annotations", both[0], "--val-annotations", both[1])
    assert own("data", "add", "pictures", "--frames", tmp_path / "pictures/frames", *files)[0] == 0
    code, out, _ = own("plan", "pictures", "--init", "theirs.safetensors", "--json")
    assert [stage["step"] for stage in json.loads(out.splitlines()[-1])["stages"]] == [2]


def test_a_large_set_keeps_the_settings_of_the_weights():
    assert small_set_settings(WEIGHTS, 5000, {}, source="5000 frames") == {}
    changed = small_set_settings(WEIGHTS, 4000, {}, source="4000 frames")
    values = [changed["solver", name].value for name in ("iterations", "milestones", "checkpoint_every")]
    assert values == [2530, [843, 1686], 632]
    assert ("model", "freeze") in changed
    foreign = dataclasses.replace(
        WEIGHTS, model=dataclasses.replace(WEIGHTS.model, backbone=TimmConfig(name="convnext_tiny"))
    )
    assert ("model", "freeze") not in small_set_settings(foreign, 4000, {}, source="its parts have other names")


def test_a_run_keeps_the_classes_that_the_weights_have_and_names_them(own, tmp_path):
    settings = ["solver.iterations=1", "solver.batch_size=8", "data.workers=0"]
    changes = [word for setting in settings for word in ("--set", setting)]
    words = ("run", "mine@val20-seed0", "--init", "theirs.safetensors", "--name", "own", "--gpus", "1", *changes)
    done = run_idolctl(*words, cwd=tmp_path, environment=os.environ)
    assert done.returncode == 0, done.stderr
    assert "class heads kept by name: 'second'; new: 'first'" in done.stderr
    written = json.loads((tmp_path / "runs/own/3/stage.json").read_text())["config"]
    assert written["solver"]["lr"] == WEIGHTS.solver.lr
    assert written["model"]["hidden_dim"] == WEIGHTS.model.hidden_dim
    assert "# 7 frames of mine@val20-seed0_train" in (tmp_path / "runs/own/3/recipe.yaml").read_text()
    _, out, _ = own(*words)
    assert "nothing to do" in out
    assert "Next: idolctl run mine@val20-seed0 --init theirs.safetensors" in out
