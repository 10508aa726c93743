"""A reduced embedded set and a network in small sizes, for the tests that need detectron2."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from idol_core.config import DataSource
from idol_core.data.annotations import rle
from idol_core.data.toy.make import make_clip
from idol_core.data.toy.shapes import SHAPES

SMALL = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: IDOL
  DEVICE: cpu
  MASK_ON: True
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  BACKBONE: {FREEZE_AT: 0}
  RESNETS:
    STRIDE_IN_1X1: False
    OUT_FEATURES: ["res2", "res3", "res4", "res5"]
    STEM_OUT_CHANNELS: 16
    WIDTH_PER_GROUP: 16
    RES2_OUT_CHANNELS: 32
  IDOL:
    NUM_CLASSES: 5
    HIDDEN_DIM: 32
    NHEADS: 2
    ENC_LAYERS: 1
    DEC_LAYERS: 2
    DIM_FEEDFORWARD: 48
    NUM_OBJECT_QUERIES: 30
    DROPOUT: 0.0
    INFERENCE_SELECT_THRES: 0.01
    ADD_NEW_SCORE: 0.01
    APPLY_CLS_THRES: 0.001
INPUT:
  FORMAT: RGB
  SAMPLING_FRAME_NUM: 2
  MIN_SIZE_TRAIN_SAMPLING: choice_by_clip
  RANDOM_FLIP: flip_by_clip
  MIN_SIZE_TRAIN: (64, 80)
  MAX_SIZE_TRAIN: 160
  MIN_SIZE_TEST: 80
  CROP: {ENABLED: True, TYPE: absolute_range, SIZE: [48, 64]}
SOLVER:
  IMS_PER_BATCH: 2
DATALOADER: {NUM_WORKERS: 0}
"""


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory):
    """Three clips of the embedded set's kind, 4 frames each; one object is out of sight in the last frame but one."""
    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(5)
    videos, annotations = [], []
    for number in range(1, 4):
        clip = make_clip(rng, 4, crossing=number == 1)
        names = [f"v{number}/{t}.png" for t in range(len(clip.frames))]
        for name, frame in zip(names, clip.frames, strict=True):
            (folder / "frames" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(folder / "frames" / name)
        height, width = clip.frames[0].shape[:2]
        videos.append({"id": number, "file_names": names, "height": height, "width": width, "length": len(names)})
        for category, masks in zip(clip.categories, clip.visible, strict=True):
            seen = [bool(mask.any()) for mask in masks]
            if not any(seen):
                continue
            if not annotations:
                seen[-2] = False
            shapes = [rle.uncompressed(mask) if here else None for mask, here in zip(masks, seen, strict=True)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": number,
                    "category_id": 10 + list(SHAPES).index(category),
                    "iscrowd": 0,
                    "segmentations": shapes,
                    "areas": [int(mask.sum()) if here else None for mask, here in zip(masks, seen, strict=True)],
                    "bboxes": [None] * len(masks),
                }
            )
    categories = [{"id": 10 + i, "name": name} for i, name in enumerate(SHAPES)]
    document = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def toy(toy_folder):
    """The name under which the clips are registered with detectron2."""
    from idol_core.detectron2.catalog import register_videos

    source = DataSource(kind="vis", frames=str(toy_folder / "frames"), annotations=str(toy_folder / "instances.json"))
    register_videos("toy_reduced", source, toy_folder)
    return "toy_reduced"


@pytest.fixture
def cfg(tmp_path):
    """A configuration with the original's keys and small sizes."""
    from detectron2.config import get_cfg

    from idol_core.detectron2 import add_idol_config

    found = get_cfg()
    add_idol_config(found)
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    found.merge_from_file(str(path))
    found.OUTPUT_DIR = str(tmp_path / "output")
    return found


@pytest.fixture
def model(cfg):
    """The meta architecture, on the CPU, freshly initialised, with class scores that are not all alike."""
    from detectron2.modeling import build_model

    torch.manual_seed(1)
    made = build_model(cfg)
    liven(made.model)
    return made.eval()


def liven(network) -> None:
    """Heads as they come are all alike; make queries differ, so that something is found and tracked."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for head in network.decoder.class_heads:
            head.weight.normal_(0, 0.5, generator=generator)
            head.bias.fill_(-2.0)
        for parameter in network.mask_head.controller.parameters():
            parameter.normal_(0, 0.3, generator=generator)
