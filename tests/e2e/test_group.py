"""Groups of processes under torchrun: the same run as one process, and what becomes of a failure."""

from __future__ import annotations

import dataclasses
import json
import os
import time

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import SolverConfig, StageConfig
from idol_core.data.collate import Sample, collate_pairs
from idol_core.engine.distributed import join_group, leave_group
from idol_core.engine.journal import Journal
from idol_core.engine.train import train
from idol_core.errors import IdolError
from tests.e2e import stages
from tests.unit.tiny import tiny_config


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
    process = stages.fork_launcher(hurt, *stages.torchrun(2, "--max-restarts", "3", "--monitor-interval", "0.2"))
    while stages.newest(hurt) < 3:
        assert process.is_alive()
        time.sleep(0.02)
    stages.kill_worker(process, rank=1)
    process.join(900)
    assert process.exitcode == 0, stages.log(hurt)
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


SMALL = tiny_config(dropout=0.0, num_classes=3, queries=10, hidden_dim=32)
# Objects in the key frame, and in both frames, of the two pairs of each iteration.
FRAMES = (((2, 1), (0, 0)), ((0, 0), (0, 0)), ((1, 0), (0, 0)), ((1, 1), (2, 2)))


class Given:
    """Two micro-batches for each iteration, of which a process takes its own: a pair each, as FRAMES says."""

    def __init__(self, group, broken=None):
        self._mine = slice(group.rank, 2, group.world)
        self._broken = broken

    def start(self, iteration):
        generator = torch.Generator().manual_seed(0)
        for number, both in enumerate(FRAMES):
            batches = [self._pair(count, shared, generator) for count, shared in both]
            if number == self._broken:
                batches[0].key.boxes.fill_(float("nan"))
            yield batches[self._mine]

    def names(self, iteration):
        return []

    def _pair(self, count, shared, generator):
        def sample(present):
            image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)
            corner = torch.rand(count, 2, generator=generator) * 32
            masks = torch.ones(count, 64, 64, dtype=torch.bool)
            return Sample(image, torch.arange(count) % 3, torch.cat((corner, corner + 20), 1), masks, present)

        there = torch.arange(count) < shared
        return collate_pairs([(sample(there | True), sample(there))], config=stages.INPUT, sample_ids=["pair"])


def train_in(folder, *, broken=None, **settings):
    """The weights and their average after the iterations of FRAMES, as one process of the group of the environment.

    broken: an iteration with a loss that is not finite.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    group, model = join_group(), build_model(SMALL)
    solver = SolverConfig(
        iterations=len(FRAMES), batch_size=2, micro_batches=2, lr=1e-2, weight_decay=0.1, clip_norm=1.0,
        checkpoint_every=3, log_every=100, ema=0.9,
    )  # fmt: skip
    config = StageConfig("test", "tiny", 3, model=SMALL, solver=solver)
    silent = Journal(folder, iterations=len(FRAMES), silent=True)
    trained = train(
        config, model, Given(group, broken), group=group, folder=folder, journal=silent, should_stop=lambda: False,
        warn=print, initialise=lambda: None, evaluate=lambda iteration, scored: False, **settings,
    )  # fmt: skip
    leave_group()
    return model.state_dict() | {f"average of {name}": value for name, value in trained.model.state_dict().items()}


def _train_as_rank(folder):
    torch.save(train_in(folder), folder / f"{os.environ['RANK']}.pt")


def test_parts_that_a_process_or_all_of_them_do_not_use_are_trained_as_by_one_process(tmp_path):
    """Without objects in the key frame the mask filters get no gradient, without any in both the embedding head."""
    (tmp_path / "one").mkdir()
    wanted = train_in(tmp_path / "one")
    for process in stages.fork_ranks(2, _train_as_rank, tmp_path):
        process.join(300)
        assert process.exitcode == 0
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, weights in wanted.items():
            torch.testing.assert_close(found[name], weights, rtol=1e-5, atol=1e-7, msg=name)


def test_losses_that_are_read_later_change_nothing_and_stop_the_run_before_it_writes(tmp_path):
    for name in ("at once", "later", "broken"):
        (tmp_path / name).mkdir()
    wanted = train_in(tmp_path / "at once", read_at_once=True)
    found = train_in(tmp_path / "later", read_at_once=False)
    assert all(torch.equal(found[name], weights) for name, weights in wanted.items())
    with pytest.raises(IdolError, match="not finite in iteration 2") as caught:
        train_in(tmp_path / "broken", broken=2, read_at_once=False)
    assert caught.value.where == "samples pair"
    assert not list((tmp_path / "broken").rglob("*.pt"))
