"""Averaged weights, frozen parts, and the end of training when scores no longer rise, over whole stages."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from idol_core.build import build_model
from idol_core.engine.stage import run_stage
from idol_core.errors import InvalidInput, Preempted
from idol_core.metadata import to_metadata
from idol_core.weights import save_weights
from tests.e2e import stages
from tests.unit.tiny import SWIN, tiny_config


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return stages.write_data(tmp_path_factory.mktemp("data"))


def run(folder, config=None, *, stop_when=lambda: False):
    """The weights of a stage that is run in this process."""
    if config is not None:
        stages.write_order(folder, config)
    run_stage(folder, should_stop=stop_when)
    return stages.weights(folder)


def same(found, wanted):
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def checkpoint(folder, iteration):
    return torch.load(folder / "checkpoints" / f"{iteration:08d}.pt")


def test_the_average_of_the_weights_is_saved_and_resumed_to_the_bit(source, tmp_path):
    config = stages.stage_config(
        source, optimizer="muon", iterations=5, milestones=(), checkpoint_every=1, keep_checkpoints=9, ema=0.3
    )
    found = run(tmp_path / "whole", config)
    torch.manual_seed(config.solver.seed)
    average = build_model(config.model).state_dict()
    for number in range(1, 6):
        decay = min(0.3, (1 + number) / (10 + number))
        trained = checkpoint(tmp_path / "whole", number)["model"]
        average = {name: value + (1 - decay) * (trained[name] - value) for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert not same(found, trained), "the last weights themselves were saved"

    folder = tmp_path / "stopped"
    for reached in (2, 3):
        with pytest.raises(Preempted):
            run(folder, config, stop_when=lambda: len(stages.reports(folder)) >= reached)  # noqa: B023
    assert same(run(folder, config), found)


def test_training_stops_when_scores_no_longer_rise_and_the_best_weights_are_kept(source, tmp_path):
    """The tiny network finds nothing, so that the first score is never exceeded."""
    config = stages.stage_config(source, evaluate_every=2, patience=2, keep_checkpoints=9)
    folder = tmp_path / "whole"
    found = run(folder, config)
    assert same(found, checkpoint(folder, 2)["model"])
    assert (stages.state(folder)["status"], stages.state(folder)["iteration"]) == ("done", 6)
    assert stages.newest(folder) == 6
    (told,) = stages.events(folder, "kept")
    assert told["text"].startswith(
        "stopped after iteration 6 of 12, as AP has not risen for 2 evaluations; the weights"
    )
    assert "iteration 2 are kept" in told["text"]
    assert json.loads((folder / "results.json").read_text()) == json.loads(
        (folder / "evaluations" / "00000002" / "results.json").read_text()
    )

    resumed = tmp_path / "stopped"
    for moment in ("training", "scoring the best"):

        def stop(moment=moment):
            if moment == "training":
                return len(stages.reports(resumed)) >= 3
            return bool(stages.events(resumed, "kept"))

        with pytest.raises(Preempted):
            run(resumed, config, stop_when=stop)
    assert same(run(resumed, config), found)
    assert stages.state(resumed)["iteration"] == 6


def test_a_stage_that_runs_to_its_end_keeps_its_best_weights_too(source, tmp_path):
    config = stages.stage_config(source, iterations=4, milestones=(), evaluate_every=3, patience=5, ema=0.9)
    folder = tmp_path / "stage"
    assert same(run(folder, config), stages.load_file(folder / "best.safetensors"))
    (told,) = stages.events(folder, "kept")
    assert told["text"].startswith("the weights of iteration 3 are kept")
    assert checkpoint(folder, 4)["average"].keys() == checkpoint(folder, 4)["model"].keys()


def test_frozen_parts_stay_as_they_were_and_must_be_in_the_weights(source, tmp_path):
    config = stages.stage_config(source, iterations=2, milestones=())
    path = tmp_path / "start.safetensors"
    model = dataclasses.replace(config.model, freeze=("stem", "stage2", "encoder"))
    config = dataclasses.replace(config, model=model, init=str(path))
    start = build_model(config.model).state_dict()
    save_weights(path, start, to_metadata(config, ["first", "second"]))
    found = run(tmp_path / "stage", config)
    frozen = ("backbone.stem.", "backbone.res3.", "pyramid.", "encoder.")
    moved = {name for name, value in found.items() if not torch.equal(value, start[name])}
    assert not [name for name in moved if name.startswith(frozen)]
    parts = {".".join(name.split(".")[:2]) for name in moved}
    assert {"backbone.res2", "backbone.res4", "backbone.res5", "decoder.layers", "embed_head.layers"} <= parts

    backbone = {name.removeprefix("backbone."): v for name, v in start.items() if name.startswith("backbone.")}
    names = {name: name.replace("stem.", "stem.conv1.") for name in backbone}  # detectron2's
    torch.save({names[name]: value for name, value in backbone.items()}, tmp_path / "imagenet.pth")
    refused = dataclasses.replace(config, init=str(tmp_path / "imagenet.pth"))
    with pytest.raises(InvalidInput, match=r"model\.freeze names encoder, which the initial weights don't have"):
        run(tmp_path / "refused", refused)


def test_the_stages_of_a_swin_transformer_are_frozen_by_name():
    model = build_model(tiny_config(backbone=SWIN, freeze=("stem", "stage1", "stage3")))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    parts = {".".join(name.split(".")[:3]).removesuffix(".weight") for name in frozen}
    assert {part.rsplit(".", 1)[0] for part in parts if "layers" in part} == {"backbone.layers"}
    assert {part for part in parts if "layers" in part} == {"backbone.layers.0", "backbone.layers.2"}
    assert "backbone.layers.0.downsample.reduction.weight" in frozen
    assert any(name.startswith("backbone.patch_embed.") for name in frozen)
