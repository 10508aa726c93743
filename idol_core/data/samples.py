"""Load single frames of a data set with their instances and apply a given augmentation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idol_core.data.collate import Sample
from idol_core.data.dataset import Dataset
from idol_core.data.frames import FrameReader
from idol_core.data.masks import sample_masks
from idol_core.data.transforms import Geometry, transform_image
from idol_core.errors import Integrity


class LabelledFrames:
    """Access to frames and instances by index: `video` is a row of the data set, `frame` counts from 0 in the video."""

    def __init__(self, dataset: Dataset, reader: FrameReader) -> None:
        self._dataset, self._index, self._reader = dataset, dataset.index, reader

    def size(self, video: int) -> tuple[int, int]:
        """Height and width of a video's frames in pixels."""
        height, width = self._index.video_sizes[video].tolist()
        return height, width

    def length(self, video: int) -> int:
        """Number of frames."""
        return int(self._index.first_frame[video + 1] - self._index.first_frame[video])

    def tracks(self, video: int, frame: int) -> NDArray[np.int64]:
        """Rows of the tracks visible in a frame, without crowds."""
        rows = np.arange(self._index.first_track[video], self._index.first_track[video + 1])
        keep = [not self._index.track_crowd[row] and self._index.present(int(row), frame) for row in rows]
        return rows[np.array(keep, np.bool_)]

    def pixels(self, video: int, frame: int) -> Tensor:
        """Read a frame: uint8 [3, H, W] RGB. Raises Missing, or Integrity if it is broken or of another size."""
        path = str(self._dataset.frames / self._dataset.frame_name(video, frame))
        return torch.from_numpy(self._reader(path, *self.size(video))).permute(2, 0, 1)

    def sample(self, pixels: Tensor, video: int, frame: int, tracks: NDArray[np.int64], geometry: Geometry) -> Sample:
        """Apply a geometry to a frame and to the given tracks in it (visible or not).

        Boxes are tight around the transformed masks, with or without a crop, as in the published training. A track
        whose mask becomes empty is marked as not present. Raises Integrity for run lengths that don't fit the frame.
        """
        size = self.size(video)
        segments = [self._index.segment(int(track), frame, size) for track in tracks]
        try:
            masks, boxes, present = sample_masks(segments, size, geometry)
        except Integrity as error:
            where = f"{self._dataset.source}: masks of {self._dataset.frame_name(video, frame)}"
            raise Integrity(error.what, where=where, fix="correct the annotations, or download them again") from None
        labels = self._index.track_categories[tracks].astype(np.int64)
        arrays = (torch.from_numpy(array) for array in (labels, boxes, masks, present))
        return Sample(transform_image(pixels, geometry), *arrays)
