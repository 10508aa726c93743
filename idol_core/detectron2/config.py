"""Add the original's keys to a detectron2 configuration, and translate a configuration to our settings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from idol_core.config import StageConfig, stage_from_dict
from idol_core.errors import InvalidInput
from idol_core.yacs import FIELDS, IDOL_FIELDS, Translation, defaults, flatten, translate

_BACKBONE = ("MODEL.BACKBONE.", "MODEL.RESNETS.", "MODEL.SWIN.")
_NETWORK = [
    *(key for key in FIELDS if key.startswith(("MODEL.IDOL.", "MODEL.PIXEL_"))),
    "INPUT.FORMAT",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
]
_TRAINING = [
    *(key for key in FIELDS if key.startswith(("INPUT.MIN_SIZE_TRAIN", "INPUT.MAX_SIZE_TRAIN", "INPUT.CROP."))),
    "INPUT.RANDOM_FLIP",
    "INPUT.SAMPLING_FRAME_RANGE",
    "INPUT.COCO_PRETRAIN",
]


def add_idol_config(cfg: CfgNode) -> None:
    """Add every key of the original with its default: MODEL.IDOL, MODEL.SWIN, and more in INPUT and SOLVER."""
    for key, field in IDOL_FIELDS.items():
        *sections, name = key.split(".")
        node = cfg
        for section in sections:
            if section not in node:
                node[section] = CfgNode()
            node = node[section]
        node[name] = copy.deepcopy(field.default)


def network_config(cfg: CfgNode) -> StageConfig:
    """Settings of model, losses, tracker, normalization and test size; the rest has the defaults of idol_core.config.

    `model.backbone` is meaningful only if `own_backbone(cfg)` is not None. Raises InvalidInput, naming the keys, if a
    value is not supported.
    """
    return _stage(cfg, _NETWORK)


def stage_config(cfg: CfgNode) -> StageConfig:
    """As `network_config`, plus the settings for making training items. Solver and data are left to the trainer."""
    return _stage(cfg, _NETWORK + _TRAINING)


def _stage(cfg: CfgNode, keys: list[str]) -> StageConfig:
    flat = _flat(cfg)
    translation = translate(flat, keys=keys)
    if translation.problems:
        what = "; ".join(problem.what for problem in translation.problems)
        raise InvalidInput(what, where="the configuration", fix=translation.problems[0].fix)
    settings = {"step": 3} | _values(translation) | (own_backbone(cfg) or {})
    return stage_from_dict({"recipe": "detectron2", "backbone": flat["MODEL.BACKBONE.NAME"], **_nested(settings)})


def own_backbone(cfg: CfgNode) -> dict[str, Any] | None:
    """Settings of our backbone for a published ResNet or Swin; None if detectron2 is to build the backbone."""
    translation = translate(_flat(cfg), keys=[key for key in FIELDS if key.startswith(_BACKBONE)])
    return None if translation.problems else _values(translation)


def _flat(cfg: CfgNode) -> dict[str, Any]:
    return defaults() | dict(flatten(cfg))


def _values(translation: Translation) -> dict[str, Any]:
    return {path: setting.value for path, setting in translation.settings.items()}


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, name = path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return tree
