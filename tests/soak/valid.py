"""The valid files that fuzzing begins with: a small labelled set, a run of it, configurations and weights."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from pycocotools import mask as coco_mask

from idol_core.data.exchange.formats import FORMATS
from idol_core.system.files import write_json
from idol_core.weights import open_weights
from idol_core.weights.published import rename_ours
from idolctl.config.library import recipes_folder
from tests.cli.mini import make_mini
from tests.unit.label_sets import made_labels, write_images
from tests.unit.test_mask_formats import BURST, TAO, save_frames, write_sav

SMALL = (
    "model.hidden_dim=32", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=2",
    "model.feedforward_dim=48",
    "model.queries=10", "model.mask_channels=8", "model.backbone.out_channels=32",
)  # fmt: skip
DETECTRON2 = """\
_BASE_: base.yaml
MODEL:
  META_ARCHITECTURE: "IDOL"
  MASK_ON: True
  WEIGHTS: "mine.pth"
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  RESNETS: {DEPTH: 101, STRIDE_IN_1X1: False, OUT_FEATURES: [res2, res3, res4, res5]}
  IDOL:
    NUM_CLASSES: 25
    NUM_OBJECT_QUERIES: 300
DATASETS:
  TRAIN: ("ytvis_ovis_train",)
  TEST: ("ytvis_ovis_val",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.00005
  STEPS: (16000,)
  MAX_ITER: 24000
  WARMUP_ITERS: 10
INPUT:
  MIN_SIZE_TRAIN_SAMPLING: "choice_by_clip"
  RANDOM_FLIP: "flip_by_clip"
  MIN_SIZE_TRAIN: (480, 512, 544, 576, 608, 640, 672, 704, 736)
  MAX_SIZE_TRAIN: 1333
  FORMAT: "RGB"
"""
BASE = """\
INPUT: {SAMPLING_FRAME_NUM: 2, CROP: {ENABLED: True, TYPE: "absolute_range", SIZE: [384, 600]}}
SOLVER: {CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model, CLIP_VALUE: 0.01}, WEIGHT_DECAY: 0.0001}
"""


def prepare(home: Path) -> None:
    """Write them all to `home`; a training of two iterations takes most of the time."""
    recipe = make_mini(home)
    text = recipe.read_text().replace("frames: frames", f"frames: {home}/frames")
    recipe.write_text(text.replace("annotations: ", f"annotations: {home}/"))
    videos = json.loads((home / "videos.json").read_text())
    for annotation in videos["annotations"]:
        annotation["occlusion"] = ["no_occlusion", "slight_occlusion", "severe_occlusion"]
    (home / "videos.json").write_text(json.dumps(videos))
    images = json.loads((home / "images.json").read_text())
    for number, annotation in enumerate(images["annotations"]):
        annotation["segmentation"] = _other_form(annotation, number % 3)
    (home / "images.json").write_text(json.dumps(images))
    _train(home)
    (run,) = (home / "runs").iterdir()
    for name in ("holder", "job"):
        shutil.rmtree(run / name, ignore_errors=True)
    (run / ".holder.json").write_text(
        json.dumps({"pid": 1, "host": "elsewhere", "since": "now", "argv": [], "endpoint": None})
    )
    _results(home)
    (home / "base.yaml").write_text(BASE)
    (home / "detectron2.yaml").write_text(DETECTRON2)
    for name in ("toy", "ovis"):
        shutil.copy(recipes_folder() / f"{name}.yaml", home / f"{name}.yaml")
    write_label_formats(home / "labels")
    _weights(home, run)


def _other_form(annotation: dict, form: int) -> object:
    """Of a segmentation in compressed RLE: as it is, with its runs written out, or as the polygon around its box."""
    segmentation = annotation["segmentation"]
    if form == 0:
        return segmentation
    height, width = segmentation["size"]
    if form == 1:
        pixels = coco_mask.decode(segmentation).T.ravel().tolist()
        runs, before = [0], 0
        for pixel in pixels:
            if pixel != before:
                runs.append(0)
            before = pixel
            runs[-1] += 1
        return {"size": [height, width], "counts": runs}
    x, y, w, h = annotation["bbox"]
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _train(home: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "idolctl",
        "run",
        "mini.yaml",
        "--steps",
        "3",
        "--init",
        "none",
        "--root",
        str(home),
    ]
    command += ["--gpus", "1", "--name", "mini", *(word for setting in SMALL for word in ("--set", setting))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the valid run itself fails: {done.stderr}")


def _results(home: Path) -> None:
    videos, images = (json.loads((home / f"{name}.json").read_text()) for name in ("videos", "images"))
    tracks = [
        {key: a[key] for key in ("video_id", "category_id", "segmentations")} | {"score": 0.9 - number / 50}
        for number, a in enumerate(videos["annotations"])
    ]
    (home / "results.json").write_text(json.dumps(tracks))
    instances = [
        {key: a[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for a in images["annotations"]
        if isinstance(a["segmentation"], dict) and isinstance(a["segmentation"]["counts"], str)
    ]
    (home / "image_results.json").write_text(json.dumps(instances))


def write_label_formats(folder: Path) -> None:
    """A small set in every label format, FOLDER/FORMAT, with its frames."""
    labels = made_labels(clips=1, frames=3)
    for name, form in FORMATS.items():
        form.write(form.fit(labels), folder / name)
        write_images(labels, folder / name / (form.images or "images"))
    for name, content in (("burst", BURST), ("tao", TAO)):
        write_json(folder / name / "labels.json", content)
        for frame in ("frame0001.jpg", "frame0031.jpg"):
            save_frames(folder / name / "train" / "YFCC100M" / "v_1", frame)
    write_sav(folder / "sav")


def _weights(home: Path, run: Path) -> None:
    own = run / "weights.safetensors"
    shutil.copy(own, home / "own.safetensors")
    published = rename_ours(open_weights(own).state)
    torch.save({"model": published, "iteration": 3, "trainer": {"lr": [0.1]}}, home / "published.pth")
    torch.save(published, home / "old.pth", _use_new_zipfile_serialization=False)
    with open(home / "arrays.pkl", "wb") as file:
        model = {name: tensor.numpy() for name, tensor in list(published.items())[:6]}
        pickle.dump({"model": model, "__author__": "nobody"}, file, protocol=2)
