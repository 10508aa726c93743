"""Non-maximum suppression (NMS): of things that overlap too much, keep the best."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idol_core.ops.numeric import largest_float32


def suppress_greedily(excessive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Greedy suppression, best first: indices of what overlaps too much with nothing that was kept before.

    excessive: [n, n], true where two overlap too much; rows and columns by falling score; the diagonal is not read.
    """
    apart = ~excessive.T
    kept = np.ones(len(apart), bool)
    for i, row in enumerate(apart):
        if kept[i]:
            kept[i + 1 :] &= row[i + 1 :]
    return kept.nonzero()[0]


def box_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes whose IoU with every better box that is kept is at most `threshold`, by falling score.

    boxes: [n, 4] xyxy float32; scores: [n]; both on the CPU. Of equal scores the first is the better one. The result is
    torchvision's. It is an operator, so that it can be counted on fake tensors.
    """
    kept: Tensor = torch.ops.idol.box_nms(boxes, scores, threshold)
    return kept


def _box_nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    order = scores.sort(descending=True, stable=True).indices
    left, top, right, bottom = boxes[order].numpy().T
    area = (right - left) * (bottom - top)
    width = np.minimum.outer(right, right) - np.maximum.outer(left, left)
    height = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    shared = width.clip(0) * height.clip(0)
    with np.errstate(invalid="ignore"):  # two boxes without area
        overlaps = shared / (np.add.outer(area, area) - shared)
    return order[torch.from_numpy(suppress_greedily(overlaps > np.float32(largest_float32(threshold))))]


torch.library.define("idol::box_nms", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
torch.library.impl("idol::box_nms", "cpu", _box_nms)
