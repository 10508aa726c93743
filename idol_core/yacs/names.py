"""Translate the published configurations' names of data sets, weights and backbones to ours."""

from __future__ import annotations

from typing import Any

from idol_core.yacs.rules import Config

# Name registered with detectron2 -> name in recipes and in the catalogue of data sets.
DATA_SETS = {
    "ytvis_2019_train": "ytvis19_train",
    "ytvis_2019_val": "ytvis19_val",
    "ytvis_2021_train": "ytvis21_train",
    "ytvis_2021_val": "ytvis21_val",
    "ytvis_ovis_train": "ovis_train",
    "ytvis_ovis_val": "ovis_val",
    "ytvis_ovis_train_sub": "ovis@oracle_train",
    "ytvis_ovis_val_sub": "ovis@oracle_val",
    "coco_2017_train": "coco_train",
    "coco_2017_val": "coco_val",
    "toy_train": "toy_train",
    "toy_val": "toy_val",
    "toy_images_train": "toy_images_train",
    "toy_images_val": "toy_images_val",
}
RESNET, SWIN = "build_resnet_backbone", "D2SwinTransformer"
BLOCKS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}

_WEIGHTS = {
    "cocopretrain_R50.pth": "r50-step12",
    "cocopretrain_R101.pth": "r101-step12",
    "cocopretrain_SWINL.pth": "swinl-step12",
    "detectron2://ImageNetPretrained/torchvision/R-50.pkl": "r50-imagenet",
    "detectron2://ImageNetPretrained/torchvision/R-101.pkl": "r101-imagenet",
}
_IMAGENET = {"r50": "r50-imagenet", "r101": "r101-imagenet", "swinl": "swinl-imagenet22k"}


def on_resnet(config: Config) -> bool:
    """Whether the backbone is a ResNet."""
    return bool(config["MODEL.BACKBONE.NAME"] == RESNET)


def on_swin(config: Config) -> bool:
    """Whether the backbone is the original's Swin transformer."""
    return bool(config["MODEL.BACKBONE.NAME"] == SWIN)


def backbone_name(config: Config) -> str:
    """The shipped backbone that is closest: r50, r101 or swinl."""
    if on_swin(config):
        return "swinl"
    return "r101" if config["MODEL.RESNETS.DEPTH"] == 101 else "r50"


def data_source(names: Any, side: str) -> dict[str, Any]:
    """The one data set of DATASETS.TRAIN or TEST as settings; `side` is train or val."""
    if len(names) != 1:
        raise ValueError("a step has exactly one data set here")
    if not isinstance(names[0], str) or names[0] not in DATA_SETS:
        raise ValueError(f"known names are {', '.join(DATA_SETS)}")
    return {f"data.{side}.name": DATA_SETS[names[0]]}


def start(weights: str, config: Config) -> dict[str, Any]:
    """Translate MODEL.WEIGHTS to `init`: our name for a published file, the path of any other.

    If it is empty and layers of the backbone stay frozen, or the backbone is the published Swin-L, `init` is that
    backbone's ImageNet weights.
    """
    if "://" in weights and weights not in _WEIGHTS:
        raise ValueError("initial weights must be a file (idolctl fetch, idolctl convert)")
    if weights:
        return {"init": _WEIGHTS.get(weights, weights)}
    if on_swin(config):
        begins = config["MODEL.SWIN.EMBED_DIM"] == 192
    else:
        begins = config["MODEL.RESNETS.DEPTH"] in (50, 101) and config["MODEL.BACKBONE.FREEZE_AT"] > 0
    return {"init": _IMAGENET[backbone_name(config)] if begins else None}
