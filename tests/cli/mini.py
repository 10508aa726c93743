"""A labelled set of one's own, in a second: two boxes that move, as videos (YTVIS) and as images (COCO)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = (64, 96)
CATEGORIES = [{"id": 2, "name": "red"}, {"id": 7, "name": "green"}]
RECIPE = """\
about: a small set of one's own
extends: toy
model: {num_classes: 2, queries: 20}
input: {short_sides: [64], max_size: 96, crop: {probability: 0}, test_short_side: 64, test_max_size: 96}
data:
  train: {kind: vis, frames: frames, annotations: videos.json}
  val: {kind: vis, frames: frames, annotations: videos.json}
  workers: 0
solver:
  iterations: 2
  schedule: step
  milestones: []
  warmup_factor: 1.0
  lr: 4.0e-4
  batch_size: 2
  normalize: global
  checkpoint_every: 1
  log_every: 1
steps:
  1:
    data: &images
      train: {kind: coco, frames: frames, annotations: images.json}
      val: {kind: coco, frames: frames, annotations: images.json}
    solver: {iterations: 2, milestones: []}
  2:
    data: *images
    solver: {iterations: 2, milestones: []}
  3:
    data:
      train: {kind: vis, frames: frames, annotations: videos.json}
      val: {kind: vis, frames: frames, annotations: videos.json}
    solver: {iterations: 2, milestones: []}
"""


def make_mini(folder: Path, *, videos: int = 2, length: int = 3) -> Path:
    """Write frames, both annotation files and a recipe for all three steps to `folder`; returns the recipe."""
    names, clips, tracks, images, instances = [], [], [], [], []
    for number in range(videos):
        clip = [f"v{number}/{t}.jpg" for t in range(length)]
        size = {"height": SIZE[0], "width": SIZE[1]}
        clips.append({"id": number + 1, "file_names": clip, "length": length, **size})
        masks = [[_box(number, t, k) for t in range(length)] for k in range(2)]
        for t, name in enumerate(clip):
            names.append(name)
            _save(folder / "frames" / name, [masks[k][t] for k in range(2)])
            images.append({"id": len(images) + 1, "file_name": name, **size})
            for k in range(2):
                instances.append(_instance(masks[k][t], len(instances) + 1, k) | {"image_id": len(images)})
        for k in range(2):
            parts = [_instance(m, 0, k) for m in masks[k]]
            common = {"id": len(tracks) + 1, "video_id": number + 1, "category_id": CATEGORIES[k]["id"], "iscrowd": 0}
            lists = {"segmentations": "segmentation", "bboxes": "bbox", "areas": "area"}
            tracks.append(common | {many: [p[one] for p in parts] for many, one in lists.items()})
    _write(folder / "videos.json", {"videos": clips, "categories": CATEGORIES, "annotations": tracks})
    _write(folder / "images.json", {"images": images, "categories": CATEGORIES, "annotations": instances})
    (folder / "mini.yaml").write_text(RECIPE)
    return folder / "mini.yaml"


def _box(video: int, frame: int, which: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    top, left = 8 + 6 * video + 20 * which, 10 + 8 * frame + 30 * which
    mask[top : top + 18, left : left + 22] = 1
    return mask


def _save(path: Path, masks: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    for mask, color in zip(masks, ((220, 40, 40), (40, 200, 60)), strict=True):
        pixels[mask > 0] = color
    Image.fromarray(pixels).save(path)


def _instance(mask: np.ndarray, number: int, which: int) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {
        "id": number,
        "category_id": CATEGORIES[which]["id"],
        "iscrowd": 0,
        "segmentation": {"size": list(SIZE), "counts": rle["counts"].decode()},
        "bbox": [float(v) for v in coco_mask.toBbox(rle)],
        "area": float(coco_mask.area(rle)),
    }


def _write(path: Path, document: dict) -> None:
    path.write_text(json.dumps(document))
