"""Real runs on a small set of one's own: to the end, again, interrupted, and what can go wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import av
import pytest
from PIL import Image

from idol_core.data.annotations.index_store import LARGE_BYTES
from tests.cli.conftest import CHECKOUT, blocks
from tests.cli.mini import make_mini
from tests.processes import Started, run_idolctl

LONG = ("--set", "solver.iterations=5000")


def environment():
    return os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


def call(home, *args, limit=None):
    """Run the command line in `home`, files limited to `limit` bytes each."""

    return run_idolctl(*args, cwd=home, environment=environment(), limit=limit)


def checkpoints(stage):
    """The whole ones; one that is being written has a hidden name."""
    return [path for path in stage.glob("checkpoints/*.pt") if path.stem.isdigit()]


@pytest.fixture
def home(tmp_path):
    make_mini(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a run of all three steps, and what that command said."""
    home = tmp_path_factory.mktemp("finished")
    make_mini(home)
    return home, call(home, "run", "mini.yaml", "--json")


def test_three_steps_end_with_scores_and_files(finished):
    home, done = finished
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["metrics"]) == {"1", "2", "3"}
    assert all(set(m) == {"AP", "AP50", "AP75", "AR1", "AR10"} for m in told["metrics"].values())
    assert all(0 <= value <= 100 for m in told["metrics"].values() for value in m.values())
    assert told["seconds"] > 0
    run = home / "runs" / "mini-tiny"
    assert told["paths"]["run"] == str(run)
    assert list(told["paths"])[:2] == ["run", "report"]
    for name in ("report", "weights", "results", "submission", "overlay", "contact"):
        assert Path(told["paths"][name]).is_file()
        assert Path(told["paths"][name]).parent == run
    with zipfile.ZipFile(run / "submission.zip") as archive:
        assert json.loads(archive.read("results.json")) == json.loads((run / "results.json").read_text())
    with Image.open(run / "contact.png") as sheet:
        assert min(sheet.size) > 100
    with av.open(run / "overlay.mp4") as video:
        assert sum(1 for _ in video.decode(video=0)) == 6  # two clips of three frames
    orders = [json.loads((run / chain / "stage.json").read_text()) for chain in ("1", "1-2", "1-2-3")]
    assert [order["config"]["step"] for order in orders] == [1, 2, 3]
    assert orders[2]["parent"] == str(run / "1-2" / "weights.safetensors")
    assert "solver:" in (run / "1-2" / "recipe.yaml").read_text()
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]
    assert not (run / ".holder.json").exists()


def test_progress_is_plain_lines_off_a_terminal(finished):
    home, done = finished
    weights = home / "runs" / "mini-tiny" / "1" / "weights.safetensors"
    assert "step 1  from scratch\n" in done.stderr
    assert re.search(rf"step 2  from {weights}: transferred \d+ tensors; re-initialised \S*embed_head", done.stderr)
    assert "step 2  train 2/2  loss" in done.stderr
    assert "it/s  ETA" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_progress_is_shown_when_a_large_annotation_file_is_first_read(home, monkeypatch):
    monkeypatch.setenv("IDOLCTL_CACHE", str(home / "cache"))
    annotations = home / "videos.json"
    annotations.write_text(json.dumps({"info": "x" * LARGE_BYTES, **json.loads(annotations.read_text())}))
    megabytes = f"{annotations.stat().st_size / 1e6:.1f}"
    done = call(home, "plan", "mini.yaml", "--steps", "3", "--init", "none")
    assert done.returncode == 0, done.stderr
    assert f"reading annotations  {megabytes}/{megabytes} MB" in done.stderr
    assert "reading" not in call(home, "plan", "mini.yaml", "--steps", "3", "--init", "none").stderr


def test_oracles_work_whether_or_not_detections_fit_on_the_disk(finished):
    home, _ = finished
    question = ("eval", "mini-tiny", "--oracle", "clip", "--clip-length", "5")
    kept = home / "runs" / "mini-tiny" / "1-2-3" / "detections"
    full = call(home, *question, limit=400)
    assert full.returncode == 0, full.stderr
    assert full.stderr.count("warning: detections are not kept any more (File too large)") == 1
    assert "Traceback" not in full.stderr
    assert not [path for path in kept.rglob("*") if path.is_file()]
    roomy = call(home, *question)
    assert roomy.stdout == full.stdout
    rows = [line.split("  ")[0] for line in roomy.stdout.splitlines()]
    assert rows[-3:] == ["normal", "clip oracle, 5 frames", "frame oracle"]
    (folder,) = kept.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["1.npz", "2.npz", "about.json"]
    assert f"1-2-3/detections/{folder.name}, 0.0 MB" in roomy.stderr
    again = call(home, *question)
    assert (again.returncode, again.stdout) == (0, roomy.stdout)
    assert "kept" not in again.stderr


def test_a_finished_run_is_not_repeated_and_loads_no_torch(finished):
    home, _ = finished
    before = {p: p.stat().st_mtime_ns for p in (home / "runs").rglob("*") if p.is_file() and not p.name.startswith(".")}
    again = call(home, "run", "mini.yaml")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert "submission.zip" in again.stdout
    after = {p: p.stat().st_mtime_ns for p in (home / "runs").rglob("*") if p.is_file() and not p.name.startswith(".")}
    assert after == before
    probe = (
        "import sys\nfrom idolctl.app import main\ncode = main(['run', 'mini.yaml'])\n"
        "sys.exit(code or ('torch' in sys.modules))"
    )
    quick = subprocess.run([sys.executable, "-c", probe], cwd=home, env=environment(), capture_output=True, check=False)
    assert quick.returncode == 0


def test_other_plans_reuse_finished_steps(finished):
    home, _ = finished
    plan = json.loads(call(home, "plan", "mini.yaml", "--steps", "1,3", "--json").stdout)
    assert [(s["stage"], s["action"]) for s in plan["stages"]] == [("1", "skip"), ("1-3", "run")]
    dry = call(home, "run", "mini.yaml", "--dry-run", "--force-step", "2")
    assert [line.split()[:2] for line in dry.stdout.splitlines()[2:5]] == [["1", "skip"], ["2", "run"], ["3", "wait"]]


def test_a_changed_recipe_is_refused_with_the_difference(finished):
    home, _ = finished
    weights = (home / "runs/mini-tiny/1/weights.safetensors").stat().st_mtime_ns
    changed = call(home, "run", "mini.yaml", "--set", "solver.lr=1e-3")
    assert changed.returncode == 2
    (told,) = blocks(changed.stderr)
    assert "solver.lr: 0.0004 -> 0.001" in told["error"]
    assert "--force-step 1" in told["fix"]
    assert (home / "runs/mini-tiny/1/weights.safetensors").stat().st_mtime_ns == weights
    assert call(home, "plan", "mini.yaml", "--set", "solver.lr=1e-3").returncode == 2


def test_the_newest_run_is_submitted(finished):
    home, _ = finished
    done = call(home, "submit", "mini", "--run", "mini-tiny", "--annotations", "videos.json", "--out", "again.zip")
    assert done.returncode == 0, done.stderr
    assert (home / "again.zip").read_bytes() == (home / "runs/mini-tiny/submission.zip").read_bytes()


def _started(home, *args):
    """A running command whose worker has trained a few iterations, and its stage folder."""
    process = Started(["run", "mini.yaml", "--steps", "1", *LONG, *args], home, environment())
    stage = home / "runs" / "mini-tiny" / "1"
    _wait(lambda: checkpoints(stage), process)
    return process, stage


def _wait(ready, process=None, seconds=300):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            pytest.fail(f"did not come: {process.communicate() if process else ''}")
        time.sleep(0.1)


def _resumes(home):
    (stage,) = json.loads(call(home, "plan", "mini.yaml", "--steps", "1", *LONG, "--json").stdout)["stages"]
    return stage["action"] == "resume" and "at iteration" in stage["reason"]


def _stopped(home, number, code):
    """The stage folder of a run that a signal has stopped with this exit code."""
    process, stage = _started(home)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    assert f"run mini.yaml --steps 1 {' '.join(LONG)}" in said
    assert json.loads((stage / "state.json").read_text())["status"] == "stopped"
    assert "Traceback" not in said
    assert _resumes(home)
    return stage


def test_a_warning_of_the_scheduler_stops_a_run_that_resumes(home):
    _stopped(home, signal.SIGUSR1, 75)


def test_a_killed_command_leaves_a_run_that_resumes(home):
    process, stage = _started(home)
    second = call(home, "run", "mini.yaml", "--steps", "1", *LONG)
    assert second.returncode == 1
    assert f"process {process.pid} on" in blocks(second.stderr)[0]["error"]
    process.kill()
    process.communicate()
    _wait(lambda: json.loads((stage / "state.json").read_text())["status"] == "stopped")
    assert _resumes(home)


def test_a_killed_worker_is_reported_with_the_command_that_resumes(home):
    process, _ = _started(home)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "killed by signal 9" in blocks(said)[0]["error"]
    assert _resumes(home)


def test_a_loss_that_is_not_finite(home):
    broken = ("--set", "solver.lr=1e30", "--set", "solver.iterations=9")
    done = call(home, "run", "mini.yaml", "--steps", "1", *broken)
    assert done.returncode == 1, done.stderr
    (told,) = blocks(done.stderr)
    assert "not finite" in told["error"]
    assert told["fix"]
    assert checkpoints(home / "runs/mini-tiny/1")  # the last good one


def test_ctrl_c_stops_a_run_that_resumes_and_a_full_disk_leaves_its_last_good_checkpoint(home):
    stage = _stopped(home, signal.SIGINT, 130)
    good = {path: path.read_bytes() for path in checkpoints(stage)}
    full = call(home, "run", "mini.yaml", "--steps", "1", *LONG, limit=600_000)
    assert full.returncode == 1, full.stderr
    (told,) = blocks(full.stderr)
    assert "writing" in told["error"] or "room" in told["error"]
    assert "--runs-dir" in told["fix"]
    assert {path: path.read_bytes() for path in (stage / "checkpoints").iterdir()} == good
    assert _resumes(home)


def test_annotations_that_cannot_be_read(home):
    (home / "images.json").write_text('{"images": [')
    done = call(home, "run", "mini.yaml", "--steps", "1")
    assert done.returncode == 4, done.stderr
    (told,) = blocks(done.stderr)
    assert "images.json" in told["where"]
    assert told["fix"]


def test_a_missing_set_names_where_it_should_be(home):
    shutil.rmtree(home / "frames")
    (home / "videos.json").unlink()
    done = call(home, "run", "mini.yaml")
    assert done.returncode == 3
    assert {b["where"] for b in blocks(done.stderr)} == {"frames"}
    coco = call(home, "run", "ytvis19", "--root", "elsewhere")
    assert coco.returncode == 3
    assert "elsewhere/coco/train2017" in {b["where"] for b in blocks(coco.stderr)}
    assert not (home / "runs").exists()


def test_a_recipe_with_three_mistakes(home):
    recipe = home / "mini.yaml"
    recipe.write_text(recipe.read_text().replace("queries: 20", "quieres: 20") + "solvr: {}\nloss: {mask: -1}\n")
    done = call(home, "run", "mini.yaml")
    assert done.returncode == 2
    told = {b["where"].split(":", 2)[2]: b for b in blocks(done.stderr)}
    assert set(told) == {"model.quieres", "solvr", "loss.mask"}
    assert all(b["where"].startswith("mini.yaml:") for b in told.values())
    assert told["solvr"]["fix"] == "did you mean 'solver'?"
