"""Generate the built-in data set `toy`: animals on textured ground, in YouTube-VIS and COCO format.

A class is a shape; texture and color differ per instance, so they identify the instance but not its class. In every val
clip, two objects of one class cross. Below `root/toy`:

    vis/{train,val}/JPEGImages/<video>/<frame>.jpg   vis/{train,val}/instances.json    (uncompressed RLE)
    coco/{train,val}/<image>.jpg                     coco/annotations/instances_{train,val}.json   (compressed RLE)
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image

from idol_core.data.annotations import rle
from idol_core.data.toy.motion import HEIGHT, LARGEST, SMALLEST, WIDTH, cross, leave_and_return, poses, wander
from idol_core.data.toy.render import SUPERSAMPLE, Pose, Sprite, make_sprite, render
from idol_core.data.toy.shapes import SHAPES
from idol_core.data.toy.textures import Look, background, draw_look
from idol_core.system.files import read_object

VERSION = 7
CATEGORIES = dict(zip(SHAPES, (3, 5, 8, 13, 21), strict=True))  # name -> category id, with gaps as real sets have
VIDEOS = {"train": 160, "val": 40}
IMAGES = {"train": 640, "val": 60}
DAY = 86_400  # seconds
FEWEST_PIXELS = 12  # an object with fewer visible pixels counts as absent


class Actor(NamedTuple):
    """An object of a clip with its pose in every frame."""

    sprite: Sprite
    poses: list[Pose]


class Clip(NamedTuple):
    """A rendered clip: T frames, N objects."""

    frames: list[NDArray[np.uint8]]
    categories: list[str]
    visible: NDArray[np.bool_]  # [N, T, H, W]
    whole_area: NDArray[np.float32]  # [N, T]


def make_toy(
    root: Path, *, seed: int = 0, videos: Mapping[str, int] = VIDEOS, images: Mapping[str, int] = IMAGES
) -> Path:
    """Write the toy set to `root/toy` atomically and return that folder.

    `videos` and `images`: how many each part gets; fewer are the first of more.

    One process generates it while others wait; leftovers of killed processes are removed by the next call.
    The same seed gives the same annotations and pixels (and, with the same libjpeg version, the same bytes). A folder
    that already holds this version and seed is kept.
    """
    final = root / "toy"
    if is_made(final, seed=seed):
        return final
    root.mkdir(parents=True, exist_ok=True)
    with _alone_in(root) as alone:
        _sweep(root, alone=alone)
        if is_made(final, seed=seed):
            return final
        aside = root / f".toy.{uuid.uuid4().hex[:8]}.part"
        try:
            for number, split in enumerate(("train", "val")):
                _write_videos(aside / "vis" / split, split, [seed, number, 0], videos[split])
                _write_images(aside / "coco", split, [seed, number, 1], images[split])
            (aside / "toy.json").write_text(json.dumps({"version": VERSION, "seed": seed}) + "\n")
            _put_in_place(aside, final, seed)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return final


@contextmanager
def _alone_in(root: Path) -> Iterator[bool]:
    """Lock the folder itself (no lock file; released with the process); yields False if its file system can't."""
    handle = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        except OSError:  # some network file systems
            alone = False
        yield alone
    finally:
        os.close(handle)


def _sweep(root: Path, *, alone: bool) -> None:
    """Remove leftovers of killed processes; unless `alone`, only those unchanged for a day."""
    for path in root.glob(".toy.*.part*"):
        with suppress(OSError):
            if alone or time.time() - path.stat().st_mtime > DAY:
                shutil.rmtree(path)


def is_made(folder: Path, *, seed: int = 0) -> bool:
    """Whether `folder` holds the toy set of this seed and version."""
    return read_object(folder / "toy.json") == {"version": VERSION, "seed": seed}


def _put_in_place(aside: Path, final: Path, seed: int) -> None:
    """Rename to `final`, replacing another version; keep it if another process has already made the same."""
    if final.exists() and not is_made(final, seed=seed):
        final.rename(aside.with_name(aside.name + ".old"))
        shutil.rmtree(aside.with_name(aside.name + ".old"), ignore_errors=True)
    try:
        aside.rename(final)
    except OSError:
        if not is_made(final, seed=seed):
            raise


def make_clip(rng: Generator, length: int, *, crossing: bool) -> Clip:
    """Draw and render a clip (or single image) of 2 or 3 objects; `crossing`: two of one class meet."""
    actors = _cast(rng, length, crossing)
    margin = 12
    ground = background(rng, HEIGHT + margin, WIDTH + margin).repeat(SUPERSAMPLE, 0).repeat(SUPERSAMPLE, 1)
    pan = _fit(rng.uniform(0, 2 * margin, 2) + np.arange(length)[:, None] * rng.uniform(-1.2, 1.2, 2), 2 * margin)
    light = rng.uniform(0, 2 * np.pi)
    frames, visible, whole = [], [], []
    for t in range(length):
        top, left = (int(v) for v in pan[t])
        view = ground[top : top + SUPERSAMPLE * HEIGHT, left : left + SUPERSAMPLE * WIDTH]
        grain = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * np.float32(0.012)
        drawn = render(view, [a.sprite for a in actors], [a.poses[t] for a in actors], light=light, grain=grain)
        frames.append(drawn.image)
        visible.append(drawn.visible)
        whole.append(drawn.whole_area)
    return Clip(frames, [a.sprite.category for a in actors], np.stack(visible, 1), np.stack(whole, 1))


def _fit(path: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Keep a camera path within 0..limit."""
    return np.clip(path, 0, limit)


def _cast(rng: Generator, length: int, crossing: bool) -> list[Actor]:
    names = list(SHAPES)
    most = 3
    categories = [names[i] for i in rng.integers(len(names), size=rng.integers(2, most + 1))]
    paths = [
        leave_and_return(rng, length) if length > 1 and rng.random() < 0.4 else wander(rng, length) for _ in categories
    ]
    radii = rng.uniform(SMALLEST + 1, LARGEST, len(categories))
    if crossing:
        categories[1] = categories[0]
        paths[:2] = cross(rng, length)
        radii[0] = rng.uniform(SMALLEST + 2, LARGEST - 4)
        radii[1] = radii[0] * rng.uniform(1.0, 1.25)
    if len(categories) > 2 and rng.random() < 0.4:
        categories[2] = categories[0]
    looks: list[Look] = []
    for category in categories:
        rivals = [other for other, name in zip(looks, categories, strict=False) if name == category]
        look = draw_look(rng)
        while any(look.resembles(other) for other in rivals):
            look = draw_look(rng)
        looks.append(look)
    actors = [
        Actor(make_sprite(rng, category, look), poses(rng, category, path, float(radius)))
        for category, look, path, radius in zip(categories, looks, paths, radii, strict=True)
    ]
    if crossing:  # random depth order, but of the crossing two the larger is in front
        return actors[:2] + actors[2:] if rng.random() < 0.5 else actors[2:] + actors[:2]
    return actors


def _write_videos(folder: Path, split: str, seed: list[int], count: int) -> None:
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        rng = default_rng([*seed, number])
        length = 10 if split == "train" else int(rng.integers(12, 17))
        clip = make_clip(rng, length, crossing=split == "val" or rng.random() < 0.7)
        names = [f"v{number:03d}/{t:05d}.jpg" for t in range(length)]
        for name, frame in zip(names, clip.frames, strict=True):
            _save(folder / "JPEGImages" / name, frame)
        videos.append({"id": number + 1, "file_names": names, "height": HEIGHT, "width": WIDTH, "length": length})
        for category, masks, whole in zip(clip.categories, clip.visible, clip.whole_area, strict=True):
            track = _track(masks, whole)
            if any(track["segmentations"]):
                ids = {"id": len(annotations) + 1, "video_id": number + 1, "category_id": CATEGORIES[category]}
                annotations.append({**ids, "iscrowd": 0, **track})
    _save_json(folder / "instances.json", videos=videos, annotations=annotations, categories=_categories())


def _write_images(folder: Path, split: str, seed: list[int], count: int) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        rng = default_rng([*seed, number])
        clip = make_clip(rng, 1, crossing=rng.random() < 0.15)
        name = f"{number + 1:06d}.jpg"
        _save(folder / split / name, clip.frames[0])
        images.append({"id": number + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for category, masks in zip(clip.categories, clip.visible, strict=True):
            if masks[0].sum() >= FEWEST_PIXELS:
                ids = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": CATEGORIES[category]}
                shape = {"segmentation": rle.to_json(rle.encode(masks[0])), "bbox": _box(masks[0])}
                annotations.append({**ids, "iscrowd": 0, "area": int(masks[0].sum()), **shape})
    path = folder / "annotations" / f"instances_{split}.json"
    _save_json(path, images=images, annotations=annotations, categories=_categories())


def _track(masks: NDArray[np.bool_], whole_area: NDArray[np.float32]) -> dict[str, list[Any]]:
    """Make the per-frame lists of a YTVIS annotation (with OVIS's occlusion) from visible masks [T, H, W]."""
    track: dict[str, list[Any]] = {"segmentations": [], "bboxes": [], "areas": [], "occlusion": []}
    for mask, whole in zip(masks, whole_area, strict=True):
        area = int(mask.sum())
        seen = area >= FEWEST_PIXELS
        share = area / max(float(whole), 1.0)
        grade = "no_occlusion" if share > 0.92 else "slight_occlusion" if share > 0.5 else "severe_occlusion"
        track["segmentations"].append(rle.uncompressed(mask) if seen else None)
        track["bboxes"].append(_box(mask) if seen else None)
        track["areas"].append(area if seen else None)
        track["occlusion"].append(grade if seen else None)
    return track


def _box(mask: NDArray[np.bool_]) -> list[int]:
    """Box of a mask: left, top, width, height."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def _categories() -> list[dict[str, Any]]:
    return [{"id": number, "name": name, "supercategory": "animal"} for name, number in CATEGORIES.items()]


def _save(path: Path, frame: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path, quality=95, subsampling=0)


def _save_json(path: Path, **document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = {"description": "idolctl toy", "version": str(VERSION)}
    path.write_text(json.dumps({"info": info, **document}, separators=(",", ":")) + "\n")
