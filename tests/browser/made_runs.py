"""Runs as they lie on disk, made without training: results that go wrong in known ways, and curves that fall."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from idol_core.config import DataSource, stage_to_dict
from idolctl.config.library import load_recipe
from idolctl.config.resolve import resolve

SIZE = (72, 96)
LOSSES = ("loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice")


def make_data(folder: Path, *, videos: int, frames: int = 8, names: tuple[str, ...] = ("red", "green")) -> Path:
    """Frames and annotations of boxes that move, two in each video; returns the annotation file."""
    clips, annotations = [], []
    for video in range(1, videos + 1):
        paths = [f"clip{video:03d}/{t:02d}.jpg" for t in range(frames)]
        clips.append({"id": video, "height": SIZE[0], "width": SIZE[1], "length": frames, "file_names": paths})
        boxes = [[_place(video, which, t) for t in range(frames)] for which in range(2)]
        for which in range(2):
            annotations.append(
                {"id": len(annotations) + 1, "video_id": video, "category_id": which + 1, "iscrowd": 0,
                 "segmentations": [_box(*at) for at in boxes[which]]}
            )  # fmt: skip
        for t, path in enumerate(paths):
            pixels = np.full((*SIZE, 3), 90, np.uint8)
            for which, color in enumerate(((220, 40, 40), (40, 200, 60))):
                x, y = boxes[which][t]
                pixels[y : y + 20, x : x + 20] = color
            (folder / "frames" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / "frames" / path)
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(names)]
    document = {"videos": clips, "categories": categories, "annotations": annotations}
    (folder / "videos.json").write_text(json.dumps(document))
    return folder / "videos.json"


def make_results(annotations: Path, *, seed: int = 0) -> list[dict]:
    """A track for each object: shifted a little; in video 1 the two exchange their objects half-way, in video 2 one
    has the other's class, in video 3 one is missed."""
    rng = np.random.default_rng(seed)
    document, found = json.loads(annotations.read_text()), []
    for video in document["videos"]:
        mine = [a for a in document["annotations"] if a["video_id"] == video["id"]]
        masks = [list(a["segmentations"]) for a in mine]
        kinds = [a["category_id"] for a in mine]
        half = video["length"] // 2
        if video["id"] == 1:
            masks = [masks[0][:half] + masks[1][half:], masks[1][:half] + masks[0][half:]]
        if video["id"] == 2:
            kinds[0] = kinds[1]
        shift = int(rng.integers(0, 4))
        for which, (track, kind) in enumerate(zip(masks, kinds, strict=True)):
            if video["id"] == 3 and which == 0:
                continue
            moved = track if video["id"] < 4 else [_shifted(mask, shift) for mask in track]
            found.append(
                {"video_id": video["id"], "category_id": kind, "score": float(0.4 + 0.5 * rng.random()),
                 "segmentations": moved}
            )  # fmt: skip
    return found


def make_run(folder: Path, annotations: Path, *, seed: int = 0, done: bool = True, points: int = 40) -> Path:
    """A run of step 3 in `folder`; one that is not done has its curves only."""
    (resolved,) = resolve(load_recipe("toy"), steps=(3,), assignments=(f"solver.seed={seed}",))
    source = DataSource("", kind="vis", frames=str(annotations.parent / "frames"), annotations=str(annotations))
    data = dataclasses.replace(resolved.config.data, train=source, val=source)
    config = stage_to_dict(dataclasses.replace(resolved.config, data=data, init=None))
    stage = folder / "3"
    stage.mkdir(parents=True)
    order = {"key": "k", "identity": {"start": "scratch"}, "config": config, "parent": None, "root": str(folder)}
    (stage / "stage.json").write_text(json.dumps(order))
    state = {"status": "done" if done else "stopped", "phase": "train", "iteration": 10 * points, "seconds": 75.0}
    state |= {"iterations": 10 * points, "metrics": {"AP": 50.0, "AP50": 60.0} if done else None, "error": None}
    (stage / "state.json").write_text(json.dumps(state))
    (stage / "metrics.jsonl").write_text("".join(_line(i, seed) for i in range(1, points + 1)) + '{"iteration": 9')
    environment = {"time": "2026-01-01T00:00:00", "command": ["idolctl", "run", "toy", "--name", folder.name]}
    (folder / "environment.json").write_text(json.dumps(environment))
    if done:
        (stage / "weights.safetensors").write_bytes(b"")
        (stage / "results.json").write_text(json.dumps(make_results(annotations, seed=seed)))
    return folder


def _line(point: int, seed: int) -> str:
    losses = {
        f"{name}{layer}": round(2 / math.sqrt(point) + 0.1 * math.sin(point + seed), 4)
        for name in LOSSES
        for layer in ("_0", "_1", "")
    }
    values = {"iteration": 10 * point, "it_per_s": 2.0 if point % 2 else 5.0, "data_wait": 0.05, "memory_mib": 900.0}
    values |= {"lr": 1e-4 / point, "grad_norm": 100.0 / point, "loss": sum(losses.values()), "losses": losses}
    return json.dumps(values) + "\n"


def _place(video: int, which: int, t: int) -> tuple[int, int]:
    return 4 + 45 * which + (video + 3 * t) % 25, 4 + 30 * which + (video * 7 + t) % 12


def _box(x: int, y: int) -> dict:
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[y : y + 20, x : x + 20] = 1
    return {"size": list(SIZE), "counts": coco_mask.encode(mask)["counts"].decode()}


def _shifted(segmentation: dict, pixels: int) -> dict:
    mask = np.roll(coco_mask.decode(segmentation), pixels, axis=0)
    return {"size": list(SIZE), "counts": coco_mask.encode(np.asfortranarray(mask))["counts"].decode()}
