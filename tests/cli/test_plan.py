"""What is done to each step, and why, judged from the files of a run alone."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest

from idol_core.data.catalog import LAYOUTS
from idol_core.errors import IdolError, InvalidInput, Missing
from idolctl.runs.fingerprint import stage_key
from idolctl.runs.report import plan_table
from idolctl.runs.run import Run, RunRequest, make_run, obstacles, refuse_changes
from idolctl.runs.state import read_stage, run_lock, stage_lock
from tests.cli.conftest import CHECKOUT
from tests.cli.mini import make_mini


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    """A request for toy whose data files exist (their content does not matter to a plan)."""
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "datasets"
    for name, layout in LAYOUTS.items():
        if name.startswith("toy"):
            (root / layout.frames[0]).mkdir(parents=True)
            (root / layout.annotations[0]).parent.mkdir(parents=True, exist_ok=True)
            (root / layout.annotations[0]).write_text(name)

    def make(*settings: str, **options: object) -> Run:
        known = {"recipe": "toy", "runs": tmp_path / "runs", "root": root, "assignments": settings}
        return make_run(RunRequest(**(known | options)))

    return make


def leave(run, chain, *, iteration=0, done=False, weights=b""):
    """Put a stage's files there as a worker leaves them."""
    stage = next(s for s in run.stages if s.chain == chain)
    folder, identity = run.stage_folder(chain), run.fingerprint(stage)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"key": "", "identity": identity}))
    if iteration:
        (folder / "checkpoints" / f"{iteration}.pt").write_bytes(b"")
    if done:
        (folder / "weights.safetensors").write_bytes(weights or chain.encode())
    status = {"status": "done" if done else "running", "iteration": iteration, "iterations": 9, "metrics": None}
    (folder / "state.json").write_text(json.dumps(status))


def kinds(run):
    return [action.kind for action in run.plan()]


def reasons(run):
    return [action.reason for action in run.plan()]


def test_an_empty_folder_runs_everything_in_order(request_of):
    assert kinds(request_of()) == ["run", "wait", "wait"]
    assert [s.chain for s in request_of(steps="1,3").stages] == ["1", "1-3"]
    assert [s.chain for s in request_of(steps="2,3").stages] == ["2", "2-3"]
    assert [s.chain for s in request_of(steps="3").stages] == ["3"]


def test_a_finished_step_is_skipped_and_a_checkpoint_is_resumed(request_of):
    run = request_of()
    leave(run, "1", done=True)
    leave(run, "1-2", iteration=50)
    assert kinds(run) == ["skip", "resume", "wait"]
    assert f"iteration 50 of {run.stages[1].config.solver.iterations}" in reasons(run)[1]
    assert kinds(request_of(steps="1,3")) == ["skip", "run"]


def test_a_trained_step_without_scores_is_only_evaluated(request_of):
    run = request_of(steps="1")
    leave(run, "1", iteration=run.stages[0].config.solver.iterations)
    assert (kinds(run), reasons(run)) == (["resume"], ["trained, not evaluated yet"])


def test_settings_that_do_not_affect_training_may_change(request_of):
    leave(request_of(steps="1"), "1", iteration=50)
    same = ("data.workers=7", "solver.log_every=1", "solver.checkpoint_every=9", "solver.keep_checkpoints=4")
    assert kinds(request_of(*same, steps="1")) == ["resume"]


@pytest.mark.parametrize(
    "setting", ["solver.lr=9e-4", "solver.seed=5", "model.dropout=.2", "loss.mask=1", "input.flip=0"]
)
def test_a_changed_recipe_is_shown_and_refused(request_of, setting):
    leave(request_of(steps="1"), "1", iteration=50)
    changed = request_of(setting, steps="1")
    with pytest.raises(InvalidInput) as caught:
        refuse_changes(changed, changed.plan())
    assert caught.value.exit_code == 2
    assert f"{setting.split('=')[0]}: " in caught.value.what
    assert "--force-step 1" in caught.value.fix
    assert "--name" in caught.value.fix


def test_a_changed_recipe_runs_if_there_are_no_weights_yet(request_of):
    leave(request_of(steps="1"), "1")
    assert kinds(request_of("solver.lr=9e-4", steps="1")) == ["run"]


def test_changed_annotations_are_noticed(request_of):
    run = request_of()
    leave(run, "1", done=True)
    annotations = run.root / LAYOUTS["toy_images_val"].annotations[0]
    annotations.write_text("other")
    (action, *_) = request_of().plan()
    assert (action.kind, action.changes) == ("changed", ("data.val's annotations changed",))
    annotations.unlink()
    assert kinds(request_of())[0] == "skip"  # what is done stays done without its data


def test_other_weights_of_the_parent_are_noticed(request_of):
    run = request_of(steps="1,3")
    leave(run, "1", done=True)
    leave(run, "1-3", iteration=20)
    assert kinds(run) == ["skip", "resume"]
    (run.stage_folder("1") / "weights.safetensors").write_bytes(b"trained again")
    (_, action) = request_of(steps="1,3").plan()
    assert (action.kind, action.changes) == ("changed", ("the weights it starts from changed",))


def test_forcing_a_step_redoes_what_depends_on_it(request_of):
    run = request_of()
    for chain in ("1", "1-2", "1-2-3"):
        leave(run, chain, done=True)
    assert kinds(run) == ["skip", "skip", "skip"]
    forced = request_of(force_step=2).plan()
    assert [a.kind for a in forced] == ["skip", "run", "wait"]
    assert [a.fresh for a in forced] == [False, True, True]
    assert [a.fresh for a in request_of("solver.seed=9", force_step=1).plan()] == [True, True, True]
    with pytest.raises(InvalidInput, match="not among the steps to run: 1,3"):
        request_of(steps="1,3", force_step=2)


def test_stage_keys_depend_on_content_not_on_paths(request_of, tmp_path):
    run = request_of(steps="1")
    identity = run.fingerprint(run.stages[0])
    assert None not in (identity["start"], identity["train"], identity["val"])
    run.root.rename(tmp_path / "moved")
    moved = request_of(steps="1", root=tmp_path / "moved", name="elsewhere")
    assert stage_key(moved.fingerprint(moved.stages[0])) == stage_key(identity)
    other = request_of("solver.seed=1", steps="1", root=tmp_path / "moved")
    assert stage_key(other.fingerprint(other.stages[0])) != stage_key(identity)


def test_a_run_from_before_a_setting_existed_or_with_its_default_recorded_stays_done(request_of):
    run = request_of(steps="1")
    leave(run, "1", done=True)
    order = run.stage_folder("1") / "stage.json"
    recorded = json.loads(order.read_text())
    settings = recorded["identity"]["settings"]
    later = {"data.classes_map", "loss.association", "input.clip_frames", "model.freeze", "solver.ema"}
    assert not later & settings.keys()
    assert kinds(run) == ["skip"]
    settings["data.classes_map"] = []
    order.write_text(json.dumps(recorded))
    assert kinds(run) == ["skip"]
    assert kinds(request_of("solver.ema=.99", "model.freeze=[stem]", "init=x", steps="1")) == ["changed"]
    assert kinds(request_of("solver.evaluate_every=7", steps="1")) == ["skip"]
    scored = [request_of("solver.patience=2", f"solver.evaluate_every={n}", steps="1") for n in (7, 8)]
    assert len({stage_key(each.fingerprint(each.stages[0])) for each in scored}) == 2


def test_a_first_step_starts_from_named_weights(request_of, tmp_path):
    run = make_run(RunRequest("ytvis19", steps="3", root=tmp_path))
    missing = obstacles(run, run.plan())
    assert all(isinstance(m, Missing) for m in missing)
    assert "idolctl fetch r50-step12" in [m.fix for m in missing]
    cached = tmp_path / "cache" / "weights"
    cached.mkdir(parents=True)
    (cached / "r50-step12.safetensors").write_bytes(b"weights")
    assert "idolctl fetch r50-step12" not in [m.fix for m in obstacles(run, run.plan())]
    assert make_run(RunRequest("ytvis19", backbone="swinl")).stages[0].config.init == "swinl-imagenet22k"
    assert [s.config.init for s in make_run(RunRequest("ytvis19")).stages] == ["r50-imagenet", None, None]
    own = tmp_path / "own.pth"
    own.write_bytes(b"own")
    given = make_run(RunRequest("ytvis19", steps="3", init=str(own), root=tmp_path))
    assert given.stages[0].config.init == str(own)
    (cached / "r50-step12.safetensors").write_bytes(b"other weights")
    before = run.fingerprint(run.stages[0])["start"]
    assert before not in (None, given.fingerprint(given.stages[0])["start"])


def test_random_layers_are_never_frozen(tmp_path):
    with pytest.raises(InvalidInput, match="random weights"):
        make_run(RunRequest("ytvis19", init="none"))
    free = make_run(RunRequest("ytvis19", init="none", assignments=("model.backbone.freeze_at=0",)))
    assert free.stages[0].config.init is None


@pytest.mark.parametrize("steps", ["", "3,1", "1,1", "4", "a", "1;2"])
def test_steps_must_be_the_recipes_in_order(request_of, steps):
    with pytest.raises(InvalidInput, match="ascending"):
        request_of(steps=steps)


@pytest.mark.parametrize("name", ["..", "a/b", "."])
def test_a_name_is_a_folder_name(request_of, name):
    with pytest.raises(InvalidInput):
        request_of(name=name)


def test_files_cut_short_are_as_if_not_there(request_of):
    run = request_of(steps="1")
    leave(run, "1", iteration=50)
    (run.stage_folder("1") / "state.json").write_text('{"status": "do')
    assert kinds(run) == ["resume"]
    (run.stage_folder("1") / "stage.json").write_text("")
    assert read_stage(run.stage_folder("1")).recorded == {}
    assert kinds(run) == ["changed"]  # never thrown away unasked


def test_the_command_to_repeat_is_the_command_given():
    request = RunRequest("toy", steps="1,3", name="a b", assignments=("solver.milestones=[1, 2]",), force_step=1)
    assert request.command() == "idolctl run toy --steps 1,3 --name 'a b' --set 'solver.milestones=[1, 2]'"
    assert request.command(force_step=3).endswith("--force-step 3 --set 'solver.milestones=[1, 2]'")
    assert dataclasses.replace(request, assignments=()).command().endswith("--name 'a b'")


def test_a_second_command_on_the_same_run_folder_is_refused(tmp_path):
    code = (
        "import time\nfrom pathlib import Path\nfrom idolctl.runs.state import run_lock\n"
        f"with run_lock(Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    time.sleep(900)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(IdolError, match=f"process {other.pid} on ") as caught, run_lock(tmp_path):
            pass
        assert caught.value.exit_code == 1
        other.kill()
        other.wait()
    with run_lock(tmp_path), stage_lock(tmp_path / "1"):
        pass


def test_a_killed_command_line_takes_its_worker_with_it(tmp_path):
    """kill -9 on the parent reaches the child as SIGTERM, so that it can still write a checkpoint."""
    said = tmp_path / "said"
    child = (
        "import pathlib, signal, sys, time\n"
        f"said = pathlib.Path({str(said)!r})\n"
        "def stop(*_):\n    said.write_text('stopped')\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready', flush=True)\ntime.sleep(900)"
    )
    parent = (
        "import os, subprocess, sys, time\n"
        "bound = [sys.executable, '-m', 'idolctl.launch.die_with_parent', str(os.getpid())]\n"
        "command = [*bound, sys.executable, '-c', sys.argv[1]]\n"
        "subprocess.Popen(command, process_group=0)\ntime.sleep(900)"
    )
    command = [sys.executable, "-c", parent, child]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 300
        while not said.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert said.read_text() == "stopped"


def test_classes_and_annotations_of_a_later_step_are_checked_before_the_first_one_trains(tmp_path, idolctl):
    recipe = make_mini(tmp_path)
    videos = tmp_path / "videos.json"
    document = json.loads(videos.read_text())
    other = document | {"categories": [{"id": 2, "name": "red"}, {"id": 7, "name": "blue"}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    recipe.write_text(recipe.read_text().replace("videos.json}\n    solver", "other.json}\n    solver"))
    planned = idolctl("plan", recipe, "--runs-dir", tmp_path / "runs")
    assert planned.returncode == 0
    assert "problem: the training set and the validation set have different classes" in planned.stdout
    run = idolctl("run", recipe, "--runs-dir", tmp_path / "runs")
    assert run.returncode == 2
    assert "--set 'data.classes_map=[green=blue]'" in run.stderr
    (tmp_path / "other.json").write_text("{")
    assert idolctl("run", recipe, "--runs-dir", tmp_path / "runs").returncode == 4
    assert not (tmp_path / "runs").exists()


def test_a_missing_set_is_named_although_the_toy_set_beside_it_is_still_to_be_made(tmp_path):
    run = make_run(RunRequest("toy", steps="3", root=tmp_path, assignments=("data.val.name=ovis_val",)))
    assert any("ovis" in error.where for error in obstacles(run, run.plan()))


def test_a_batch_that_is_changed_without_the_iterations_is_remarked(request_of):
    def notes(*settings):
        return [line for line in plan_table(request_of(*settings, steps="3").plan()).splitlines() if "items" in line]

    (note,) = notes("solver.batch_size=4", "solver.micro_batches=1")
    assert "batches of 4 instead of 8 it sees 0.5 times the recipe's items" in note
    asked = note.partition("for as many: ")[2].replace("--set ", "").split()
    assert asked[0] == "solver.iterations=2000"
    assert not notes("solver.batch_size=4", "solver.micro_batches=1", *asked)
    assert not notes("solver.batch_size=8", "solver.lr=1e-4")
