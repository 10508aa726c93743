"""Map a data set's dict to the model's input: pairs of frames for training, resized frames for testing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from numpy.random import Generator, default_rng

from idol_core.config import InputConfig
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.data.collate import Sample
from idol_core.data.frames import FrameReader
from idol_core.data.masks import sample_masks
from idol_core.data.pairs import ATTEMPTS, draw_frames, recolor_pair
from idol_core.data.transforms import (
    Geometry,
    draw_clip_geometry,
    draw_image_geometry,
    resize_for_test,
    transform_image,
)
from idol_core.detectron2.config import network_config, stage_config
from idol_core.detectron2.convert import sample_to_instances


class IdolMapper:
    """A `mapper` for build_detection_train_loader and build_detection_test_loader.

    Training: `image` and `instances` hold two frames each, either nearby frames of a video or two augmentations of an
    image (step 2). Testing: `image` is the list of a video's frames, or an image, resized.
    """

    def __init__(self, config: InputConfig, *, training: bool) -> None:
        self.config, self.training = config, training
        self._read = FrameReader(keep=False)

    @classmethod
    def of(cls, cfg: CfgNode, is_train: bool = True) -> IdolMapper:
        """Create the mapper that a configuration describes."""
        config = stage_config(cfg) if is_train else network_config(cfg)
        return cls(config.input, training=is_train)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record without annotations, with `image` and, in training, `instances` added."""
        found = {key: value for key, value in record.items() if key != "annotations"}
        if self.training:
            return found | self._pair(record)
        names = record.get("file_names") or [record["file_name"]]
        frames = [resize_for_test(self._frame(name, record), self.config) for name in names]
        return found | {"image": frames if "file_names" in record else frames[0]}

    def _pair(self, record: dict[str, Any]) -> dict[str, Any]:
        rng = default_rng(np.random.randint(2**31, size=4))  # detectron2 seeds numpy's generator in every worker
        for _ in range(ATTEMPTS):
            frames, geometries = self._draw(record, rng)
            objects = _objects(record, frames[0])
            key = self._load(record, frames[0], geometries[0], objects)
            if bool(key.present.any()):
                break
        samples = recolor_pair(rng, self.config, key, self._load(record, frames[1], geometries[1], objects))
        return {"image": [s.image for s in samples], "instances": [sample_to_instances(s) for s in samples]}

    def _draw(self, record: dict[str, Any], rng: Generator) -> tuple[tuple[int, int], list[Geometry]]:
        size = (record["height"], record["width"])
        if "file_names" in record:
            frames = draw_frames(rng, len(record["file_names"]), self.config.frame_range)
            return frames, list(draw_clip_geometry(rng, size, self.config))
        return (0, 0), [draw_image_geometry(rng, size, self.config) for _ in range(2)]

    def _load(self, record: dict[str, Any], frame: int, geometry: Geometry, objects: dict[Any, int]) -> Sample:
        """Load a frame and the ground truth of the `objects` (identity -> class) in it."""
        height, width = record["height"], record["width"]
        name = record["file_names"][frame] if "file_names" in record else record["file_name"]
        image = torch.from_numpy(self._frame(name, record)).permute(2, 0, 1)
        found = {number: a["segmentation"] for number, a in _annotations(record, frame)}
        segments = [read_segmentation(found.get(number), height, width).rle for number in objects]
        masks, boxes, present = map(torch.from_numpy, sample_masks(segments, (height, width), geometry))
        labels = torch.tensor(list(objects.values()), dtype=torch.int64)
        return Sample(transform_image(image, geometry), labels, boxes, masks, present)

    def _frame(self, name: str, record: dict[str, Any]) -> Any:
        return self._read(name, record["height"], record["width"])


def _annotations(record: dict[str, Any], frame: int) -> list[tuple[Any, dict[str, Any]]]:
    """(identity, annotation) of each object in a frame; in an image each annotation is a separate object."""
    if "file_names" in record:
        return [(annotation["id"], annotation) for annotation in record["annotations"][frame]]
    return list(enumerate(record["annotations"]))


def _objects(record: dict[str, Any], frame: int) -> dict[Any, int]:
    """Identity -> class of the objects in a frame, without crowds."""
    return {n: a["category_id"] for n, a in _annotations(record, frame) if not a.get("iscrowd", 0)}
