"""Configurations in detectron2's form: read with their bases and overrides, and the same recipes as ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from idol_core.config import StageConfig, SwinConfig
from idol_core.errors import InvalidInput
from idol_core.yacs import defaults, flatten, translate
from idolctl.config.detectron2_recipe import import_config, recipe_text
from idolctl.config.library import load_recipe
from idolctl.config.resolve import resolve
from idolctl.errors import Mistakes
from tests.parity import kit
from tests.recipes.test_published import PUBLISHED, _stages

NAMES = sorted(PUBLISHED)
SHORT = """
MODEL: {META_ARCHITECTURE: IDOL, MASK_ON: True, WEIGHTS: mine.pth}
DATASETS: {TRAIN: [ytvis_2019_train], TEST: [ytvis_2019_val]}
INPUT: {FORMAT: RGB, SAMPLING_FRAME_NUM: 2, MIN_SIZE_TRAIN_SAMPLING: choice_by_clip, RANDOM_FLIP: flip_by_clip}
SOLVER: {CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model}}
"""
RESNET = "RESNETS: {STRIDE_IN_1X1: False, OUT_FEATURES: [res2, res3, res4, res5]}"


def _write(path: Path, tree: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(tree, file)
    return path


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return tree


def _changed(flat: dict[str, Any]) -> dict[str, Any]:
    """What differs from the original's defaults; tuples as the published files write them."""
    known = defaults()
    return {k: str(tuple(v)) if isinstance(v, list) else v for k, v in flat.items() if v != known[k]}


def _stage(path: Path, tmp_path: Path, *overrides: str) -> StageConfig:
    """The one stage of a configuration; in memory and as the written recipe it is the same."""
    imported = import_config(path, overrides)
    written = tmp_path / "written.yaml"
    written.write_text(recipe_text(imported))
    stages = [resolve(r, steps=r.steps) for r in (imported.recipe, load_recipe(str(written)))]
    assert [len(s) for s in stages] == [1, 1]
    mine, reread = (s[0].config for s in stages)
    assert dataclasses.replace(reread, recipe=mine.recipe) == mine
    return mine


def _minimal(tmp_path: Path, more: str = "", text: str = SHORT) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("MASK_ON: True", f"MASK_ON: True, {RESNET}") + more)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_published_file_gives_the_shipped_recipe(name, tmp_path):
    full = _write(tmp_path / "full.yaml", kit.document("configs")[name])
    stage = _stage(full, tmp_path)
    for shipped in _stages(PUBLISHED[name]):
        assert dataclasses.replace(shipped, recipe=stage.recipe) == stage


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_differences_split_over_bases_gives_the_same_recipe(name, tmp_path):
    shared = {k: v for k, v in PUBLISHED[name].items() if all(p.get(k) == v for p in PUBLISHED.values())}
    own = {k: v for k, v in PUBLISHED[name].items() if k not in shared}
    _write(tmp_path / "bases" / "shared.yaml", _nested(_changed(shared)))
    _write(tmp_path / "bases" / "other.yaml", {"SOLVER": {"BASE_LR": 5.0}, "_BASE_": "shared.yaml"})
    reduced = _write(tmp_path / "reduced.yaml", {"_BASE_": "bases/other.yaml"} | _nested(_changed(own)))
    stage = _stage(reduced, tmp_path)
    for shipped in _stages(PUBLISHED[name]):
        assert dataclasses.replace(shipped, recipe=stage.recipe) == stage


def test_every_setting_knows_the_line_and_key_it_comes_from(tmp_path):
    path = _minimal(tmp_path, "TEST:\n  EVAL_PERIOD: 70\n")
    imported = import_config(path, ["SOLVER.BASE_LR", "1e-3"])
    settings = resolve(imported.recipe, steps=[3])[0].settings
    assert str(settings[("solver", "evaluate_every")].origin) == f"{path}:7"
    assert settings[("solver", "lr")].value == 1e-3
    assert settings[("solver", "lr")].where == "command line:SOLVER.BASE_LR"
    text = recipe_text(imported)
    assert "own.yaml:7 TEST.EVAL_PERIOD" in text
    assert str(tmp_path) not in text


def test_overrides_win_and_are_read_as_python_literals(tmp_path):
    more = ["SOLVER.STEPS", "(10, 20)", "SOLVER.MAX_ITER", "30", "MODEL.IDOL.REID_WEIGHT", "1", "SEED", "7"]
    stage = _stage(_minimal(tmp_path), tmp_path, *more)
    assert (stage.solver.milestones, stage.solver.iterations, stage.solver.seed) == ((10, 20), 30, 7)
    assert (stage.loss.contrastive, stage.loss.auxiliary) == (1.0, 1.5)
    assert stage.init == "mine.pth"
    assert stage.input.crop.probability == 0


def test_any_swin_and_any_bottleneck_resnet(tmp_path):
    swin = SHORT.replace("MASK_ON: True", "MASK_ON: True, BACKBONE: {NAME: D2SwinTransformer}")
    found = _stage(_minimal(tmp_path, text=swin), tmp_path).model.backbone
    assert found == SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7)
    deep = _stage(_minimal(tmp_path), tmp_path, "MODEL.RESNETS.DEPTH", "152").model.backbone
    assert deep.blocks == (3, 8, 36, 3)


def test_all_mistakes_at_once_each_with_its_line(tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text("SOLVER:\n  BASE_LRR: 1\n")
    more = "_BASE_: base.yaml\nTEST:\n  AUG: 3\n  EVAL_PERIOD: soon\nSEEED: 1\nCUDNN: {A: 1}\n"
    path = _minimal(tmp_path, more)
    overrides = ["MODEL.IDOL.NUM_CLASS", "3", "INPUT.FORMAT", "BGR", "MODEL.RESNETS.DEPTH", "18"]
    with pytest.raises(Mistakes) as caught:
        import_config(path, overrides)
    found = {m.where: m for m in caught.value.mistakes}
    assert set(found) == {
        f"{base}:2:SOLVER.BASE_LRR",
        f"{path}:8:TEST.AUG",
        f"{path}:9:TEST.EVAL_PERIOD",
        f"{path}:10:SEEED",
        f"{path}:11:CUDNN.A",
        "command line:MODEL.IDOL.NUM_CLASS",
        "command line:INPUT.FORMAT",
        "command line:MODEL.RESNETS.DEPTH",
    }
    assert found[f"{base}:2:SOLVER.BASE_LRR"].fix == "did you mean 'SOLVER.BASE_LR'?"
    assert found["command line:MODEL.IDOL.NUM_CLASS"].fix == "did you mean 'MODEL.IDOL.NUM_CLASSES'?"
    assert all(m.fix and m.exit_code == 2 for m in found.values())


def test_a_default_that_idol_can_not_work_with_is_said(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("MODEL: {META_ARCHITECTURE: IDOL}\n")
    with pytest.raises(Mistakes) as caught:
        import_config(path)
    wheres = {m.where for m in caught.value.mistakes}
    assert {f"{path}:INPUT.FORMAT", f"{path}:DATASETS.TRAIN"} <= wheres
    assert all("default" in m.what for m in caught.value.mistakes)


def test_settings_of_other_architectures_are_passed_over_and_unread_ones_named(tmp_path):
    path = _minimal(tmp_path, "OUTPUT_DIR: ./there\nMODEL.RPN: {HEAD_NAME: mine}\n")
    imported = import_config(path, ["MODEL.ROI_HEADS.NUM_CLASSES", "3", "SOLVER.MOMENTUM", "0.5"])
    assert set(imported.unread) == {"OUTPUT_DIR", "SOLVER.MOMENTUM"}


def test_items_are_grouped_by_aspect_and_nothing_else_can_be_had(tmp_path):
    path = _minimal(tmp_path, "DATALOADER: {ASPECT_RATIO_GROUPING: False}\n")
    with pytest.raises(Mistakes) as caught:
        import_config(path)
    (mistake,) = caught.value.mistakes
    assert mistake.where == f"{path}:6:DATALOADER.ASPECT_RATIO_GROUPING"
    assert mistake.fix == "DATALOADER.ASPECT_RATIO_GROUPING: True"
    assert _stage(_minimal(tmp_path), tmp_path).solver.normalize == "micro"  # what the sampler groups by


def test_bases_must_exist_and_not_turn_in_circles(tmp_path):
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    (tmp_path / "b.yaml").write_text("SEED: 1\n_BASE_: a.yaml\n")
    with pytest.raises(Mistakes) as caught:
        import_config(tmp_path / "a.yaml")
    assert any(
        "itself based on" in m.what and m.where == f"{tmp_path / 'b.yaml'}:2:_BASE_" for m in caught.value.mistakes
    )
    with pytest.raises(Mistakes, match="does not exist"):
        import_config(_minimal(tmp_path, "_BASE_: gone.yaml\n"))
    with pytest.raises(InvalidInput, match="no configuration file"):
        import_config(tmp_path / "gone.yaml")
    with pytest.raises(InvalidInput, match="'SEED' has no value"):
        import_config(_minimal(tmp_path), ["SEED"])


def test_what_contradicts_itself_is_said_with_the_line_of_the_file(tmp_path):
    path = _minimal(tmp_path, "TEST: {EVAL_PERIOD: -1}\n")
    with pytest.raises(Mistakes) as caught:
        recipe_text(import_config(path, ["SOLVER.IMS_PER_BATCH", "12"]))
    assert {m.where for m in caught.value.mistakes} == {
        f"{path}:6:TEST.EVAL_PERIOD",
        "command line:SOLVER.IMS_PER_BATCH",
    }


def test_flatten_keeps_the_order_and_lists_tuples():
    assert list(flatten({"A": {"C": (1, 2)}, "B": 3})) == [("A.C", [1, 2]), ("B", 3)]


def test_no_two_keys_set_the_same_thing():
    for published in PUBLISHED.values():
        paths = [path for key in published for path in translate(published, keys=[key]).settings]
        assert len(paths) == len(set(paths))


def test_keys_whose_published_values_are_alike_reach_their_own_settings(tmp_path):
    """The published files can't tell these apart: each gets a value of its own."""
    weights = {"CLASS": 1.5, "L1": 2.5, "GIOU": 3.5, "MASK": 4.5, "DICE": 5.5, "REID": 6.0}
    sizes = {"ENC_LAYERS": 1, "DEC_LAYERS": 2, "ENC_N_POINTS": 3, "DEC_N_POINTS": 5, "NUM_FEATURE_LEVELS": 6}
    thresholds = {"APPLY_CLS_THRES": 0.11, "INFERENCE_SELECT_THRES": 0.12, "NMS_PRE": 0.13, "ADD_NEW_SCORE": 0.14}
    others = {"MULTI_CLS_ON": False, "INFERENCE_TW": False, "MEMORY_LEN": 7, "BATCH_INFER_LEN": 9, "FOCAL_ALPHA": 0.2}
    idol = {f"{name}_WEIGHT": value for name, value in weights.items()} | sizes | thresholds | others
    solver = {"WEIGHT_DECAY": 0.31, "GAMMA": 0.32, "BACKBONE_MULTIPLIER": 0.33, "CLIP_GRADIENTS.CLIP_VALUE": 0.34}
    more = {f"MODEL.IDOL.{k}": v for k, v in idol.items()} | {f"SOLVER.{k}": v for k, v in solver.items()}
    stage = _stage(_minimal(tmp_path), tmp_path, *(str(word) for pair in more.items() for word in pair))
    loss, model, tracker = stage.loss, stage.model, stage.tracker
    assert (loss.classification, loss.l1, loss.giou, loss.mask, loss.dice) == (1.5, 2.5, 3.5, 4.5, 5.5)
    assert (loss.contrastive, loss.auxiliary, loss.focal_alpha) == (6.0, 9.0, 0.2)
    assert (model.encoder_layers, model.decoder_layers, model.levels) == (1, 2, 6)
    assert (model.encoder_points, model.decoder_points) == (3, 5)
    assert (tracker.class_score, tracker.select_threshold, tracker.mask_nms, tracker.new_threshold) == (
        0.11,
        0.12,
        0.13,
        0.14,
    )
    assert (tracker.multi_class, tracker.frame_weighting, tracker.temporal_weighting) == (False, True, False)
    assert (tracker.memory_length, tracker.batch_frames) == (7, 9)
    found = stage.solver
    assert (found.weight_decay, found.gamma, found.backbone_lr_factor, found.clip_norm) == (0.31, 0.32, 0.33, 0.34)
