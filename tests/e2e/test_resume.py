"""A stage that is killed, stopped or finds a damaged checkpoint ends with the weights of an uninterrupted one."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from tests.conftest import shared_folder
from tests.e2e import stages


def stage_config(source, **settings):
    """With both optimizers, of which Muon keeps its momentum."""
    return stages.stage_config(source, optimizer="muon", **settings)


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return stages.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def uninterrupted(source, tmp_path_factory):
    """The final weights of a stage that ran through, once for all processes of the tests."""
    folder = shared_folder(tmp_path_factory, "uninterrupted")
    with FileLock(folder / ".lock"):
        if not (folder / "3").exists():
            stages.write_order(folder / "3", stage_config(source))
            assert stages.finish_group(folder / "3") == [0]
    return stages.weights(folder / "3")


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


def killed_in_write(folder: Path) -> None:
    """Start a worker that the system kills while it writes its next checkpoint."""
    (process,) = stages.fork_group(folder, killed_by_file_of=100_000)
    process.join()
    assert process.exitcode == -signal.SIGXFSZ
    assert in_write(folder)


def killed_when(condition, folder: Path, *, pause: float = 0.01) -> bool:
    """Start a worker and kill -9 it when `condition` comes true; whether it did before the end."""
    (process,) = stages.fork_group(folder)
    met = wait_until(condition, process.is_alive, pause=pause)
    process.kill()
    process.join()
    return met


def test_killed_at_any_moment(source, uninterrupted, tmp_path):
    folder = stages.write_order(tmp_path / "3", stage_config(source, workers=2))
    assert killed_when(lambda: len(stages.reports(folder)) >= 3, folder)
    reached = stages.newest(folder)
    stages.write_order(folder, stage_config(source))  # its loader would be killed too
    killed_in_write(folder)
    assert stages.newest(folder) == reached < 12
    stages.write_order(folder, stage_config(source, workers=2))
    assert stages.finish_group(folder) == [0]
    assert same(stages.weights(folder), uninterrupted)
    assert not list((folder / "checkpoints").glob(".*"))
    assert [line["iteration"] for line in stages.reports(folder)] == list(range(1, 13))


def checkpoint_warnings(folder: Path) -> list[str]:
    """Warnings about checkpoints, apart from those about the data set."""
    return [line["text"] for line in stages.events(folder, "warning") if ".pt" in line["text"]]


def test_stopped_and_then_damaged(source, uninterrupted, tmp_path):
    """Stopped as by Slurm and torchrun, which send SIGTERM to the loader's processes too."""
    folder = stages.write_order(tmp_path / "3", stage_config(source, checkpoint_every=4, workers=2))
    (process,) = stages.fork_group(folder)
    wait_until(lambda: len(stages.reports(folder)) >= 5, process.is_alive)
    os.killpg(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 75
    newest = stages.newest(folder)
    assert newest >= 5
    assert (stages.state(folder)["status"], stages.state(folder)["iteration"]) == ("stopped", newest)
    path = folder / "checkpoints" / f"{newest:08d}.pt"
    path.write_bytes(path.read_bytes()[:-2000])
    assert stages.finish_group(folder) == [0]
    (told,) = checkpoint_warnings(folder)
    assert f"{newest:08d}.pt is damaged" in told
    assert same(stages.weights(folder), uninterrupted)


def test_scores_on_the_way_change_nothing_and_keep_the_best(source, uninterrupted, tmp_path):
    """Killed while it is scored after iteration 5, at a frame that is a pipe nobody writes to, it makes up for it."""
    own = stages.write_data(tmp_path / "data")
    config = stage_config(source, evaluate_every=5, checkpoint_every=5)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, val=own))
    folder = stages.write_order(tmp_path / "3", config)
    frame = tmp_path / "data" / "frames" / "v2" / "0.jpg"
    frame.rename(tmp_path / "whole.jpg")
    os.mkfifo(frame)
    (process,) = stages.fork_group(folder)
    assert wait_until(lambda: stages.events(folder, "evaluate"), process.is_alive)
    frame.unlink()
    (tmp_path / "whole.jpg").rename(frame)
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


def test_a_loader_that_stalls_is_named(source, tmp_path):
    """A loader counts as stalled after a tenth of a millisecond here, in which no first batch is made."""
    folder = stages.write_order(tmp_path / "3", stage_config(source, iterations=2))
    assert stages.finish_group(folder, IDOL_STALL_SECONDS="1e-4") == [0]
    told = [line["text"] for line in stages.events(folder, "warning") if "data loading is stalled" in line["text"]]
    assert told[0] in stages.log(folder)
    assert "no batch for iteration 0 " in told[0]
    assert ".jpg" in told[0]


@pytest.mark.parametrize("damage", ["all cut", "newest is a folder, others have another network"])
def test_without_a_usable_checkpoint_it_begins_again_from_its_parent(source, uninterrupted, tmp_path, damage):
    save_file(uninterrupted, tmp_path / "parent.safetensors")
    config = stage_config(source, iterations=4)
    folders = [stages.write_order(tmp_path / n, config, parent=tmp_path / "parent.safetensors") for n in ("a", "b")]
    assert [stages.finish_group(folder) for folder in folders] == [[0], [0]]
    whole, hurt = folders
    (hurt / "weights.safetensors").unlink()
    older, newest = sorted((hurt / "checkpoints").iterdir())
    for path in (older, newest):
        path.write_bytes(path.read_bytes()[:1000])
    if damage != "all cut":
        newest.unlink()
        newest.mkdir()
        torch.save({"iteration": 2, "model": {"w": torch.zeros(1)}}, older)
    assert stages.finish_group(hurt) == [0], stages.log(hurt)
    assert same(stages.weights(hurt), stages.weights(whole))
    assert (hurt / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    told = checkpoint_warnings(hurt)
    assert [newest.name in told[0], older.name in told[1], told[1].endswith("starting the stage over")] == [True] * 3
    assert "parent.safetensors" in stages.events(hurt, "start")[-1]["text"]
    assert sorted(path.suffix for path in (hurt / "checkpoints").iterdir()) == [".damaged", ".damaged", ".pt", ".pt"]


def test_odd_files_of_state_are_in_nobodys_way(source, uninterrupted, tmp_path):
    """Bytes that are no UTF-8, other types, NaN, brackets without end: the checkpoints are whole, so it goes on."""
    folder = stages.write_order(tmp_path / "3", stage_config(source))
    assert stages.finish_group(folder) == [0]
    (folder / "weights.safetensors").unlink()
    lines = (folder / "metrics.jsonl").read_bytes()
    odd = b'\xff\n[1]\n{"iteration": null}\n{"iteration": [], "loss": NaN}\n' + b"[" * 100_000 + b"\n"
    (folder / "metrics.jsonl").write_bytes(odd + lines + odd)
    (folder / "state.json").write_text(
        '{"status": ["x"], "seconds": NaN, "metrics": 5, "error": "y", "iterations": "z"}'
    )
    (folder / "best.json").write_text("[]")
    assert stages.finish_group(folder) == [0], stages.log(folder)
    assert same(stages.weights(folder), uninterrupted)
    assert stages.state(folder)["status"] == "done"
    assert [line["iteration"] for line in stages.reports(folder)] == list(range(1, 13))


def test_a_killed_loader_is_told_in_three_lines_and_the_stage_can_go_on(source, tmp_path):
    """PyTorch raises its end wherever the worker is just then."""
    folder = stages.write_order(tmp_path / "3", stage_config(source, workers=2, iterations=5000))
    process = stages.start(folder)
    wait_until(lambda: len(stages.reports(folder)) >= 2, lambda: process.poll() is None)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    loaders = [pid for pid in children if b"multiprocessing" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(loaders[0]), signal.SIGKILL)
    assert process.wait() == 1
    error = stages.state(folder)["error"]
    assert error["what"].startswith("a loader process ended")
    assert "\n" not in error["what"]
    assert error["where"]
    assert "data.workers=0" in error["fix"]
    assert error["traceback"] is None
    assert error["final"] is False
    assert "Traceback" not in stages.log(folder).partition("LoaderLost")[0]


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
