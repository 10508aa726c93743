"""Small labelled sets on disk for the tests of the data rooms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from idol_core.config import DataSource
from idol_core.data.annotations import rle
from idol_core.data.dataset import Dataset, open_dataset

CATEGORIES = [{"id": 9, "name": "second"}, {"id": 4, "name": "first"}]


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def write_frame(path: Path, height: int, width: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def small_videos(folder: Path) -> Dataset:
    """Three videos of 6, 4 and 1 frames of 48x64; two discs each, the second absent in odd frames; and a crowd."""
    videos, annotations = [], []
    for number, length in enumerate((6, 4, 1), start=1):
        names = [f"v{number}/{t}.jpg" for t in range(length)]
        for t, name in enumerate(names):
            write_frame(folder / "frames" / name, 48, 64, 100 * number + t)
        videos.append({"id": number, "file_names": names, "height": 48, "width": 64, "length": length})
        for k in range(3):
            masks = [disc(48, 64, 12 + 18 * k + t, 20 + 2 * t, 9) for t in range(length)]
            shapes = [None if k == 1 and t % 2 else rle.uncompressed(mask) for t, mask in enumerate(masks)]
            annotations.append(
                {
                    "id": 10 * number + k, "video_id": number, "category_id": (4, 9, 4)[k], "iscrowd": int(k == 2),
                    "segmentations": shapes, "bboxes": [None] * length, "areas": [None] * length,
                }
            )  # fmt: skip
    return write_set(folder, "vis", videos=videos, annotations=annotations, categories=CATEGORIES)


def small_images(folder: Path, *, height: int, width: int) -> Dataset:
    """Six images with a square polygon each, save that the fifth has a crowd only and the sixth nothing."""
    images, annotations = [], []
    for number in range(1, 7):
        name = f"{number}.png"
        write_frame(folder / "frames" / name, height, width, number)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        if number < 6:
            shape = (
                [[10, 10, 30, 10, 30, 30, 10, 30]] if number < 5 else rle.uncompressed(disc(height, width, 20, 20, 9))
            )
            annotations.append(
                {"id": number, "image_id": number, "category_id": 9, "segmentation": shape, "iscrowd": int(number == 5)}
            )
    return write_set(folder, "coco", images=images, annotations=annotations, categories=CATEGORIES)


def write_set(folder: Path, kind: str, **document) -> Dataset:
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return open_dataset(DataSource(kind=kind, frames=str(folder / "frames"), annotations=str(path)))
