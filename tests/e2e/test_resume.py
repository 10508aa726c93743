"""A stage that is killed, stopped or finds a damaged checkpoint ends with the weights of an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.e2e import stages


def stage_config(source, **settings):
    """With both optimizers, of which Muon keeps its momentum."""
    return stages.stage_config(source, optimizer="muon", **settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return stages.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uninterrupted(source, tmp_path_factory):
    """The final weights of a stage that ran through."""
    folder = stages.write_order(tmp_path_factory.mktemp("whole") / "3", stage_config(source))
    assert stages.finish(folder) == 0
    return stages.weights(folder)


def same(found, wanted):
    assert found.keys() == wanted.keys()
    return all(torch.equal(found[name], wanted[name]) for name in wanted)


def wait_until(condition, running, *, pause: float = 0.01) -> bool:
    """Whether `condition` came true while the process ran."""
    deadline = time.monotonic() + 600
    while running():
        if condition():
            return True
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(pause)
    return False


def in_write(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".*.part.pt"))


def killed_when(condition, folder: Path, *, pause: float = 0.01) -> bool:
    """Start a worker and kill -9 it when `condition` comes true; whether it did before the end."""
    process = stages.start(folder)
    met = wait_until(condition, lambda: process.poll() is None, pause=pause)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return met


def test_killed_at_any_moment(source, uninterrupted, tmp_path):
    folder = stages.write_order(tmp_path / "3", stage_config(source, workers=2))
    assert killed_when(lambda: len(stages.reports(folder)) >= 3, folder)
    assert killed_when(lambda: in_write(folder), folder, pause=0)
    assert stages.newest(folder) < 12
    assert stages.finish(folder) == 0
    assert same(stages.weights(folder), uninterrupted)
    assert not list((folder / "checkpoints").glob(".*"))
    assert [line["iteration"] for line in stages.reports(folder)] == list(range(1, 13))


def test_stopped_and_then_damaged(source, uninterrupted, tmp_path):
    """Stopped as by Slurm and torchrun, which send SIGTERM to the loader's processes too."""
    folder = stages.write_order(tmp_path / "3", stage_config(source, checkpoint_every=4, workers=2))
    process = stages.start(folder)
    wait_until(lambda: len(stages.reports(folder)) >= 5, lambda: process.poll() is None)
    os.killpg(process.pid, signal.SIGTERM)
    asked = time.monotonic()
    assert process.wait() == 75
    assert time.monotonic() - asked < 10
    newest = stages.newest(folder)
    assert newest >= 5
    assert (stages.state(folder)["status"], stages.state(folder)["iteration"]) == ("stopped", newest)
    path = folder / "checkpoints" / f"{newest:08d}.pt"
    path.write_bytes(path.read_bytes()[:-2000])
    assert stages.finish(folder) == 0
    (told,) = stages.events(folder, "warning")
    assert f"{newest:08d}.pt is damaged" in told["text"]
    assert same(stages.weights(folder), uninterrupted)


def test_scores_on_the_way_change_nothing_and_keep_the_best(source, uninterrupted, tmp_path):
    """Killed while it is scored after iteration 5, it makes up for that."""
    folder = stages.write_order(tmp_path / "3", stage_config(source, evaluate_every=5, checkpoint_every=5))
    (process,) = stages.fork_group(folder)
    assert wait_until(lambda: stages.events(folder, "evaluate"), process.is_alive, pause=0.001)
    process.kill()
    process.join()
    assert not stages.events(folder, "evaluated")
    assert stages.finish_group(folder) == [0], stages.log(folder)
    assert same(stages.weights(folder), uninterrupted)
    assert [line["iteration"] for line in stages.events(folder, "evaluated")] == [5, 10]
    found = {path.name for path in (folder / "evaluations").iterdir()}
    assert found == {"00000005", "00000010"}
    assert all((folder / "evaluations" / name / "predictions.png").is_file() for name in found)
    best = json.loads((folder / "best.json").read_text())
    assert best["iteration"] in (5, 10, 12)
    assert stages.load_file(folder / "best.safetensors").keys() == uninterrupted.keys()
    assert any((folder / "tensorboard").iterdir())


def test_a_loader_that_stalls_is_named(source, tmp_path, monkeypatch):
    """A frame that is a pipe nobody writes to."""
    monkeypatch.setitem(stages.ENVIRONMENT, "IDOL_STALL_SECONDS", "0.5")
    own = stages.write_data(tmp_path / "data")
    for path in (tmp_path / "data" / "frames").glob("*/*.jpg"):
        path.unlink()
        os.mkfifo(path)
    folder = stages.write_order(tmp_path / "3", stage_config(own))
    (process,) = stages.fork_group(folder)
    assert wait_until(lambda: "the loader stalls" in stages.log(folder), process.is_alive)
    process.kill()
    process.join()
    assert "without iteration 0, that is " in stages.log(folder)
    (told, *_) = stages.events(folder, "warning")
    assert told["text"] in stages.log(folder)
    assert "/0.jpg" in told["text"]


def killed_at_random(folder: Path, draw: random.Random) -> bool:
    """kill -9 in a checkpoint's write or within seconds; whether a write was met."""
    (process,) = stages.fork_group(folder)
    writing, deadline = draw.random() < 0.5, time.monotonic() + draw.uniform(0, 3)
    met = wait_until(
        lambda: in_write(folder) if writing else time.monotonic() > deadline, process.is_alive, pause=0.001
    )
    process.kill()
    process.join()
    return met and writing


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_soak(source, uninterrupted, tmp_path, seed):
    """A dozen kills each, at times drawn anew: loading, training, writing, scoring."""
    draw = random.Random(seed)
    config = stage_config(source, workers=draw.choice((0, 1, 2)), checkpoint_every=1)
    folder, met = stages.write_order(tmp_path / "3", config), 0
    for _ in range(12):
        met += killed_at_random(folder, draw)
    assert met
    assert stages.finish_group(folder) == [0]
    assert same(stages.weights(folder), uninterrupted)
