"""The original's keys on top of detectron2's, and what becomes of published configurations."""

from __future__ import annotations

import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed")

import torch
from detectron2.config import CfgNode, get_cfg

from idol_core.detectron2 import IDOL, IdolMapper, add_idol_config, stage_config
from idol_core.errors import InvalidInput
from idol_core.yacs import FIELDS, FOREIGN_SECTIONS, flatten
from idol_core.yacs.fields import DETECTRON2_FIELDS
from tests.parity import kit
from tests.recipes.test_published import PUBLISHED, _stages

pytestmark = pytest.mark.detectron2


def _published(name):
    cfg = get_cfg()
    add_idol_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(kit.document("configs")[name]))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def test_the_table_has_every_key_of_detectron2_with_its_default():
    theirs = {key: value for key, value in flatten(get_cfg()) if not key.startswith(FOREIGN_SECTIONS)}
    assert theirs == {key: field.default for key, field in DETECTRON2_FIELDS.items()}


def test_add_idol_config_adds_the_rest():
    cfg = get_cfg()
    add_idol_config(cfg)
    found = dict(flatten(cfg))
    assert {key: found[key] for key in FIELDS} == {key: field.default for key, field in FIELDS.items()}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_configurations_give_the_shipped_settings(name):
    found = stage_config(_published(name))
    for shipped in _stages(PUBLISHED[name]):
        assert (found.model, found.loss, found.tracker) == (shipped.model, shipped.loss, shipped.tracker)
        assert found.input == shipped.input


@pytest.mark.parametrize(("name", "manifest"), [("ytvis19_r50", "ytvis19_r50"), ("ytvis19_swinL", "ytvis19_swinl")])
def test_state_dict_has_the_published_names(name, manifest):
    with torch.device("meta"):
        state = IDOL(_published(f"{name}.yaml")).state_dict()
    entries = kit.document(f"manifest_{manifest}")["entries"]
    expected = {key: (tuple(shape), dtype.removeprefix("torch.")) for key, shape, dtype in entries}
    assert {key: (tuple(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in state.items()} == expected


def test_unsupported_settings_are_refused_by_name(cfg):
    cfg.INPUT.FORMAT = "BGR"
    cfg.MODEL.IDOL.MASK_STRIDE = 8
    with pytest.raises(InvalidInput, match=r"MASK_STRIDE.*FORMAT|FORMAT.*MASK_STRIDE"):
        IDOL(cfg)


def test_how_items_are_made_matters_to_the_training_mapper_only(cfg):
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    assert IDOL(cfg)
    assert IdolMapper.of(cfg, is_train=False)
    with pytest.raises(InvalidInput, match="RANDOM_FLIP"):
        IdolMapper.of(cfg)
