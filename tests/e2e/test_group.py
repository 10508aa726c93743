"""Groups of processes under torchrun: the same run as one process, and what becomes of a failure."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
import torch

from tests.e2e import stages


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return stages.write_data(tmp_path_factory.mktemp("data"))


def config(source, normalize: str):
    """Four micro-batches of one pair, so that up to four processes share them; without dropout, which is drawn by
    micro-batch."""
    found = stages.stage_config(source, normalize=normalize, micro_batches=4, iterations=6, checkpoint_every=3, lr=1e-5)
    return dataclasses.replace(found, model=dataclasses.replace(found.model, dropout=0.0))


@pytest.mark.parametrize("normalize", ["micro", "global"])
def test_one_two_and_four_processes_are_one_run(source, tmp_path, normalize):
    folders = {n: stages.write_order(tmp_path / str(n), config(source, normalize)) for n in (1, 2, 4)}
    for ranks, folder in folders.items():
        assert stages.finish_group(folder, ranks) == [0] * ranks, stages.log(folder)
    one, wanted = folders[1], stages.weights(folders[1])
    for ranks in (2, 4):
        found = folders[ranks]
        for before, after in zip(stages.reports(one), stages.reports(found), strict=True):
            assert after["losses"] == pytest.approx(before["losses"], rel=1e-4)
            assert after["grad_norm"] == pytest.approx(before["grad_norm"], rel=1e-3)
        # Rounding is all that differs, but Adam makes whole steps (lr an iteration) of it where gradients are near 0.
        weights = stages.weights(found)
        assert torch.cat([(weights[name] - wanted[name]).abs().flatten() for name in wanted]).mean() < 2e-7
        assert entries(found) == entries(one)
        assert stages.state(found)["metrics"] == pytest.approx(stages.state(one)["metrics"], abs=0.2)
        assert not (found / "parts").exists()


@pytest.mark.parametrize("normalize", ["micro", "global"])
def test_the_gradients_are_those_of_one_process(source, tmp_path, normalize):
    """Of the first iteration, weight by weight: Adam's first moment is then a tenth of the clipped gradient."""
    found = {}
    for ranks in (1, 2, 4):
        order = config(source, normalize)
        once = dataclasses.replace(order, solver=dataclasses.replace(order.solver, iterations=1, checkpoint_every=1))
        folder = stages.write_order(tmp_path / str(ranks), once)
        assert stages.finish_group(folder, ranks) == [0] * ranks, stages.log(folder)
        saved = torch.load(folder / "checkpoints" / "00000001.pt", weights_only=True)["optimizers"][0]["state"]
        found[ranks] = {number: state["exp_avg"] for number, state in saved.items()}
    assert len(found[1]) > 100
    for ranks in (2, 4):
        assert found[ranks].keys() == found[1].keys()
        for number, wanted in found[1].items():
            torch.testing.assert_close(found[ranks][number], wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def entries(folder):
    """Which video and class each result is of, in the order of the file."""
    return [(r["video_id"], r["category_id"]) for r in json.loads((folder / "results.json").read_text())]


def test_a_killed_process_restarts_the_group(source, tmp_path):
    whole = stages.write_order(tmp_path / "whole", config(source, "micro"))
    hurt = stages.write_order(tmp_path / "hurt", config(source, "micro"))
    assert stages.finish_group(whole, 2) == [0, 0]
    process = stages.start(hurt, *stages.torchrun(2, "--max-restarts", "3", "--monitor-interval", "0.2"))
    while stages.newest(hurt) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    stages.kill_worker(process, rank=1)
    assert process.wait() == 0, stages.log(hurt)
    found, wanted = stages.weights(hurt), stages.weights(whole)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert [line["iteration"] for line in stages.reports(hurt)] == [1, 2, 3, 4, 5, 6]


def test_an_error_is_told_once_and_not_tried_again(source, tmp_path):
    frames = tmp_path / "frames"
    broken = stages.write_data(tmp_path)
    for path in frames.glob("v2/*.jpg"):
        path.write_bytes(b"no image")
    folder = stages.write_order(tmp_path / "3", config(broken, "micro"))
    process = stages.start(folder, *stages.torchrun(2, "--max-restarts", "2", "--monitor-interval", "0.2"))
    assert process.wait() != 0
    error = stages.state(folder)["error"]
    assert "decoded" in error["what"]
    assert "v2" in error["where"]
    assert error["exit_code"] == 4
    assert stages.log(folder).count("Traceback") == 1
    assert "Integrity" in stages.log(folder)
