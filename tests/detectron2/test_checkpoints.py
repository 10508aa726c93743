"""Weights saved by either side load on the other."""

from __future__ import annotations

import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed")

import logging

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultTrainer
from detectron2.modeling import build_model

import idol_core.detectron2 as idol
from idol_core.build import build_model as build_ours
from idol_core.config import StageConfig
from idol_core.engine.checkpoint import save_checkpoint
from idol_core.losses.criterion import Criterion
from idol_core.weights import convert_file, open_weights, save_weights, start_from
from tests.unit.tiny import SWIN, tiny_config

pytestmark = pytest.mark.detectron2


def _equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_detectron2_saves_and_we_load(cfg, model, tmp_path):
    optimizer = DefaultTrainer.build_optimizer(cfg, model)
    scheduler = DefaultTrainer.build_lr_scheduler(cfg, optimizer)
    saver = DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer, scheduler=scheduler)
    saver.save("model_final", iteration=7)
    path = tmp_path / "model_final.pth"
    assert any(name.startswith("detr.detr.transformer.decoder.bbox_embed.0") for name in open_weights(path).state)
    ours = build_ours(idol.stage_config(cfg).model)
    report = start_from(ours, path)
    assert not report.reinitialised
    assert _equal(ours, model.model)
    again = build_model(cfg)
    assert DetectionCheckpointer(again).load(str(path))["iteration"] == 7
    assert _equal(again, model)


@pytest.mark.parametrize("form", ["weights.safetensors", "published.pth", "00000005.pt"])
def test_we_save_and_detectron2_loads(cfg, model, tmp_path, form, caplog):
    torch.manual_seed(9)
    ours = build_ours(idol.stage_config(cfg).model)
    path = tmp_path / form
    if form == "00000005.pt":
        save_checkpoint(tmp_path, 5, {"model": ours.state_dict()}, keep=1)
    else:
        save_weights(tmp_path / "weights.safetensors", ours.state_dict(), {})
    if form == "published.pth":
        convert_file(tmp_path / "weights.safetensors", "vnext", path)
    assert not _equal(ours, model.model)
    with caplog.at_level(logging.WARNING):
        reader = idol.IdolCheckpointer if form.endswith(".safetensors") else DetectionCheckpointer
        reader(model).load(str(path))
    assert _equal(ours, model.model)
    assert not caplog.records


@pytest.mark.parametrize("form", ["weights.safetensors", "published.pth"])
def test_another_number_of_classes_leaves_the_class_heads_as_they_are(cfg, model, tmp_path, form):
    save_weights(tmp_path / "weights.safetensors", model.model.state_dict(), {})
    convert_file(tmp_path / "weights.safetensors", "vnext", tmp_path / "published.pth")
    cfg.MODEL.IDOL.NUM_CLASSES = 3
    other = build_model(cfg)
    before = other.model.decoder.class_heads[0].weight.clone()
    idol.IdolCheckpointer(other).load(str(tmp_path / form))
    assert torch.equal(other.model.decoder.class_heads[0].weight, before)
    assert torch.equal(other.model.decoder.query_embedding, model.model.decoder.query_embedding)


def test_a_swins_index_tables_are_written_and_read():
    stage = StageConfig(recipe="", backbone="", step=3)
    parts = {"criterion": Criterion(stage.loss), "tracker": stage.tracker, "input": stage.input}
    made, other = (idol.IDOL(model=build_ours(tiny_config(backbone=SWIN)), **parts) for _ in range(2))
    state = made.state_dict()
    assert sum(name.endswith("relative_position_index") for name in state) == sum(SWIN.depths)
    other.load_state_dict(state, strict=True)
    assert _equal(made, other)


def test_what_is_missing_is_reported_by_its_published_name(model):
    state = model.state_dict()
    for name in list(state):
        if "reid_embed_head.layers.0" in name:
            del state[name]
    report = model.load_state_dict(state | {"strange": torch.zeros(1)}, strict=False)
    assert sorted(report.missing_keys) == [f"detr.reid_embed_head.layers.0.{kind}" for kind in ("bias", "weight")]
    assert report.unexpected_keys == ["strange"]
