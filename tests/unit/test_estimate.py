"""Memory and time before a run: counted on fake tensors, or taken from real steps."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import CropConfig, DataConfig, DataSource, InputConfig, LossConfig, SolverConfig, StageConfig
from idol_core.data.dataset import open_dataset
from idol_core.data.loader import make_loader
from idol_core.engine.estimate import SPARE, Content, Memory, Time, content_of, count_memory, measure, random_batch
from idol_core.engine.fake_cuda import saved_storages
from idol_core.engine.objective import Objective
from idol_core.losses.criterion import Criterion
from idolctl.app import main
from idolctl.runs.estimate import Estimate, estimate_text
from tests.cli.mini import make_mini
from tests.unit.tiny import tiny_config

CPU = torch.device("cpu")
CONTENT = Content(64, 96, 2)


def stage(step=3, **solver):
    return StageConfig(
        "toy", "tiny", step, model=tiny_config(embedding=step > 1, encoder_layers=1, decoder_layers=1),
        data=DataConfig(workers=0),
        solver=SolverConfig(**{"batch_size": 4, "micro_batches": 2, "iterations": 50} | solver),
    )  # fmt: skip


def test_the_count_holds_weights_gradients_moments_and_what_backward_needs():
    pairs = stage()
    clips = dataclasses.replace(pairs, loss=LossConfig(association="memory"), input=InputConfig(clip_frames=4))
    assert random_batch(clips, CONTENT, 2, CPU).key.labels.shape == (2 * 4, CONTENT.objects)
    of_pairs, of_clips = (count_memory(config, CONTENT) for config in (pairs, clips))
    assert of_clips.each > 2 * of_pairs.each  # twice the frames, and all of them learn detection
    for config, counted in ((pairs, of_pairs), (clips, of_clips)):
        model = build_model(config.model)
        weights = sum(p.nbytes for p in model.parameters())
        assert 4 * weights <= counted.fixed < 5 * weights  # AdamW has two moments
        # Really run: the matches are fewer, and one operator on a CPU is another on a GPU.
        one, two = (_saved(config, model, items) for items in (1, 2))
        assert 0.6 < (two - one) / counted.each < 1.4


def _saved(config, model, items):
    """Bytes that the backward pass of a real step on so many items needs."""
    batch = random_batch(config, CONTENT, items, CPU)
    with saved_storages(model) as kept:
        Objective(model.train(), Criterion(config.loss), lambda total: total)(batch, [torch.Generator()] * items)
    return kept.bytes


def test_the_largest_micro_batch_fits_and_one_item_more_does_not():
    memory = Memory(fixed=1e9, each=3e8)
    most = memory.most(8e9)
    assert memory.of(most) <= 8e9 * (1 - SPARE) < memory.of(most + 1)
    assert memory.most(1e9) == 0


@pytest.mark.parametrize("crop", [0.0, 0.5])
def test_no_batch_is_larger_than_the_largest_frames(tmp_path, crop):
    make_mini(tmp_path, videos=3)
    source = DataSource("", "vis", str(tmp_path / "frames"), str(tmp_path / "videos.json"))
    dataset = open_dataset(source)
    cut = CropConfig(probability=crop, size=(24, 60))
    config = dataclasses.replace(stage(iterations=40), input=InputConfig(short_sides=(48, 64), max_size=150, crop=cut))
    content = content_of(config, dataset)
    assert content.objects == 2
    shapes = [tuple(b.frames.images.shape[-2:]) for group in make_loader(config, dataset, workers=0) for b in group]
    assert max(h for h, _ in shapes) <= content.height
    assert max(w for _, w in shapes) <= content.width
    if not crop:
        assert set(shapes) <= {(content.height, content.width), (64, 96)}


def test_real_steps_measure_memory_and_time_and_leave_nothing(tmp_path):
    make_mini(tmp_path)
    source = DataSource("", "vis", str(tmp_path / "frames"), str(tmp_path / "videos.json"))
    before = set(tmp_path.rglob("*"))
    told: list[str] = []
    config = stage()
    memory, time = measure(config, open_dataset(source), CONTENT, CPU, steps=1, say=told.append)
    assert memory.each > 0
    assert time.peak > 0
    assert time.computing > 0
    assert time.loading > 0
    assert time.iteration == time.computing + time.loading  # no loader processes
    assert "1 of 1" in told[-1]
    assert set(tmp_path.rglob("*")) == before
    _, without = measure(config, None, CONTENT, CPU, steps=1, say=told.append)
    assert (without.loading, without.peak) == (None, None)
    assert without.iteration > 0
    assert Time(2.0, 6.0, None, 2).iteration == 3.0  # two loader processes are the slower part


def test_plan_says_what_fits_and_what_to_change(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ("solver.batch_size=24", "solver.normalize=micro", "solver.micro_batches=1")
    words = [word for text in settings for word in ("--set", text)]
    assert main(["plan", str(make_mini(tmp_path)), "--steps", "1", "--gpu-memory", "0.1", "--json", *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)["estimates"]
    assert (found["measured"], found["with_data"], found["seconds"]) == (False, True, None)
    assert found["needed"] == found["fixed"] + 24 * found["each"]
    most = math.floor((0.1 * 2**30 * (1 - found["spare"]) - found["fixed"]) / found["each"])
    assert found["largest"] == most < 24
    parts = next(n for n in range(1, 25) if 24 % n == 0 and 24 // n <= most)
    told = estimate_text(Estimate(**found))
    assert "24 images don't fit: --set model.checkpoint=true" in told
    assert f"--set solver.micro_batches={parts}," in told
    assert not (tmp_path / "runs").exists()
