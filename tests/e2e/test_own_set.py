"""A labelled video set of one's own, from `data add` to scores: its frames serve step 1."""

from __future__ import annotations

import json

import pytest

from tests.e2e.stages import ENVIRONMENT
from tests.processes import run_idolctl
from tests.unit.data_sets import small_videos

RECIPE = """
extends: toy
model: {num_classes: 2, queries: 20, feedforward_dim: 32}
data: {train: {name: mine_train}, val: {name: mine_val}, workers: 0}
input: {short_sides: [64], test_short_side: 64, crop: {size: [48, 64], resize: [64]}}
solver: {iterations: 3, milestones: [2], batch_size: 2}
"""
# So low that a network of three iterations reports something.
LOW = [f"tracker.{name}=.001" for name in ("select_threshold", "init_threshold", "new_threshold", "class_score")]


@pytest.fixture
def idolctl(tmp_path):
    """Run a command in a process of its own; returns what it says as JSON."""
    own = {"IDOLCTL_CACHE": str(tmp_path / "cache"), "DETECTRON2_DATASETS": str(tmp_path / "root")}

    def run(*arguments: object) -> dict:
        done = run_idolctl(*arguments, "--json", cwd=tmp_path, environment=ENVIRONMENT | own)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


def test_a_set_is_added_trained_on_and_scored(idolctl, tmp_path):
    small_videos(tmp_path / "clips")
    labels = [
        "--annotations",
        tmp_path / "clips/instances.json",
        "--val-annotations",
        tmp_path / "clips/instances.json",
    ]
    idolctl("data", "add", "mine", "--frames", tmp_path / "clips/frames", *labels)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    summary = idolctl("run", "mine.yaml", "--backbone", "tiny", "--steps", "1,3")
    assert set(summary["metrics"]) == {"1", "3"}
    assert all(set(m) == {"AP", "AP50", "AP75", "AR1", "AR10"} for m in summary["metrics"].values())

    own = idolctl("eval", "mine-tiny")
    assert own["AP"] == pytest.approx(summary["metrics"]["3"]["AP"], abs=1e-3)
    settings = [part for setting in LOW for part in ("--set", setting)]
    first = idolctl("eval", "mine-tiny", *settings, "--per-video")
    results = json.loads((tmp_path / first["results"]).read_text())
    assert {r["video_id"] for r in results} == {1, 2, 3}
    (folder,) = (tmp_path / "runs/mine-tiny/1-3/detections").iterdir()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(kept) == {"1.npz", "2.npz", "3.npz", "about.json"}
    again = idolctl("eval", "mine-tiny", *settings, "--set", "tracker.match_threshold=.5,.6")
    assert again["sweep"][0]["AP"] == pytest.approx(first["AP"])
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == kept
    assert list(folder.parent.iterdir()) == [folder]

    weights = idolctl("eval", summary["paths"]["weights"], *settings)
    assert json.loads((tmp_path / weights["results"]).read_text()) == results
    images = idolctl("eval", "runs/mine-tiny/1", "--data", "mine")
    assert 0 <= images["AP"] <= 100
