"""Our recipes against every field of the published ones: it sets ours, is what our code does, or is unread by name."""

from __future__ import annotations

from typing import Any

import pytest

from idol_core.classes import choose_classes, parse_chosen
from idol_core.config import StageConfig, stage_to_dict
from idol_core.yacs import DATA_SETS, FIELDS, flatten, translate
from idolctl.config.library import load_recipe
from idolctl.config.resolve import resolve
from idolctl.zoo.metadata import class_names
from tests.parity import kit

PUBLISHED: dict[str, dict[str, Any]] = {name: dict(flatten(tree)) for name, tree in kit.document("configs").items()}


def _stages(published: dict[str, Any]) -> list[StageConfig]:
    """Our stages that this published file describes: one of step 3, or the COCO step of every video recipe."""
    swin = published["MODEL.BACKBONE.NAME"] == "D2SwinTransformer"
    backbone = "swinl" if swin else f"r{published['MODEL.RESNETS.DEPTH']}"
    step = 2 if published["INPUT.COCO_PRETRAIN"] else 3
    data = DATA_SETS[published["DATASETS.TRAIN"][0]].removesuffix("_train")
    recipes = ["ytvis19", "ytvis21", "ovis"] if data == "coco" else [data]
    return [resolve(load_recipe(r), steps=[step], backbone=backbone)[0].config for r in recipes]


def differences(published: dict[str, Any], stage: StageConfig) -> list[str]:
    """Every field in which the stage is not the published recipe, and every field that nobody has looked at."""
    unknown = [key for key in published if key not in FIELDS]
    translation = translate(published, keys=[key for key in published if key in FIELDS])
    found = [f"{key} is not in the table" for key in unknown] + [problem.what for problem in translation.problems]
    ours = dict(flatten(stage_to_dict(stage)))
    for path, (wanted, key) in translation.settings.items():
        if ours[path] != wanted:
            found.append(f"{key}: published {wanted}, ours {ours[path]}")
    return found


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_field(name):
    published = PUBLISHED[name]
    stages = _stages(published)
    assert stages
    for stage in stages:
        assert differences(published, stage) == []


def test_a_wrong_or_new_field_is_noticed():
    published = next(iter(PUBLISHED.values()))
    stage = _stages(published)[0]
    assert differences(published | {"SOLVER.BASE_LR": 0.5}, stage)
    assert differences(published | {"MODEL.RESNETS.NORM": "BN"}, stage)
    assert differences(published | {"MODEL.IDOL.REID_WEIGHT": 1.0}, stage)
    assert differences(published | {"SOLVER.NEW": 1}, stage) == ["SOLVER.NEW is not in the table"]


def test_what_was_never_published_says_so():
    shown = {
        (r, b, s): _inferred(r, b, s)
        for r in ("ytvis19", "ytvis21", "ovis")
        for b in ("r50", "r101", "swinl")
        for s in (1, 2, 3)
    }
    noted = {key for key, note in shown.items() if note}
    expected = {k for k in shown if k[2] == 1 or k[1:] == ("r101", 2) or k == ("ovis", "r101", 3)}
    assert noted == expected


# COCO classes that CTVIS learns from on each set (ctvis/data/vis/builtin.py), and the share of its items they make up.
MIXED = {"ytvis19": (21, 1 / 2.5), "ytvis21": (23, 1 / 1.8), "ovis": (17, 1 / 1.75)}


@pytest.mark.parametrize("name", MIXED)
def test_memory_recipes_mix_in_classes_that_both_sets_have_and_say_that_nobody_published_them(name):
    (found,) = resolve(load_recipe(f"{name}-memory"), steps=[3])
    mix, names = found.config.data.mix, class_names(name)
    coco = class_names("coco")
    places = choose_classes(coco, names, chosen=parse_chosen(mix.classes), where=name)
    number, share = MIXED[name]
    assert len(places) == number
    assert coco.index("mouse") not in places  # the animal has the name of the device
    assert mix.share == pytest.approx(share, abs=5e-4)
    assert "Mask2Former" in (found.inferred or "")
    plain = resolve(load_recipe(name), steps=[3])[0].config
    assert found.config.data.train == plain.data.train
    assert found.config.init == plain.init == "r50-step12"


def _inferred(recipe: str, backbone: str, step: int) -> str | None:
    return resolve(load_recipe(recipe), steps=[step], backbone=backbone)[0].inferred


def test_step_one_follows_the_deformable_detr_schedule():
    solver = resolve(load_recipe("ytvis19"), steps=[1])[0].config.solver
    assert solver.iterations == 50 * 117266 // 32
    assert solver.milestones == (40 * 117266 // 32,)
    assert (solver.lr, solver.batch_size, solver.gamma) == (2e-4, 32, 0.1)
