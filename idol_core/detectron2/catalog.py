"""Register the data sets in detectron2's catalogues, under the names used by the published configurations."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from idol_core.config import DataSource
from idol_core.data.catalog import LAYOUTS, resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.yacs import DATA_SETS


def data_root() -> Path:
    """The folder of the data sets: $DETECTRON2_DATASETS, or datasets/."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def register_data_sets(root: Path | None = None) -> None:
    """Register every known data set that is not registered yet; files are read only when a set is used."""
    for name, ours in DATA_SETS.items():
        if name in DatasetCatalog.list():
            continue
        layout = LAYOUTS[ours]
        folder = root or data_root()
        if layout.kind == "vis":
            register_videos(name, DataSource(name=ours), folder)
        else:
            register_coco_instances(name, {}, str(folder / layout.annotations[0]), str(folder / layout.frames[0]))


def register_videos(name: str, source: DataSource, root: Path) -> None:
    """Register a YouTube-VIS data set, your own or a known one, under any name."""
    DatasetCatalog.register(name, partial(_records, name, source, root))
    MetadataCatalog.get(name).set(evaluator_type="ytvis", idol_source=source, idol_root=str(root))


def open_registered(name: str) -> Dataset:
    """Open the data set registered as `name` as a Dataset of idol_core.

    Raises Missing if its files are not there, KeyError if `name` was not registered by this package.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("idol_source") is None:
        raise KeyError(f"{name} was not registered by idol_core.detectron2")
    dataset = open_dataset(resolve_source(metadata.idol_source, Path(metadata.idol_root)))
    metadata.set(
        json_file=str(dataset.source),
        image_root=str(dataset.frames),
        thing_classes=dataset.category_names,
        thing_dataset_id_to_contiguous_id={number: i for i, number in enumerate(dataset.category_ids)},
    )
    return dataset


def _records(name: str, source: DataSource, root: Path) -> list[dict[str, Any]]:
    """One dict per video: file_names, height, width, length, video_id, and `annotations`: for each frame, a list of
    objects with id, category_id (a class index), iscrowd, segmentation (compressed RLE), bbox, bbox_mode."""
    dataset = open_registered(name)
    return [_record(dataset, row) for row in range(len(dataset.videos))]


def _record(dataset: Dataset, row: int) -> dict[str, Any]:
    video = dataset.videos[row]
    annotations: list[list[dict[str, Any]]] = [[] for _ in range(video.length)]
    for track in dataset.tracks(row):
        for t, rle in enumerate(track.segmentations):
            if rle is not None:
                annotations[t].append(
                    {
                        "id": track.id,
                        "category_id": track.category,
                        "iscrowd": int(track.iscrowd),
                        "segmentation": rle,
                        "bbox": coco_mask.toBbox(rle).tolist(),
                        "bbox_mode": BoxMode.XYWH_ABS,
                    }
                )
    return {
        "file_names": video.file_names,
        "height": video.height,
        "width": video.width,
        "length": video.length,
        "video_id": video.id,
        "annotations": annotations,
    }
