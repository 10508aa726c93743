"""The graph that is exported: from a frame's pixels to the detections that go to the tracker, with fixed shapes.

It computes what `inference.select` does, in operators that every runtime has: masked selection instead of indexing
with a number of rows that depends on the frame.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from idol_core.backbones.swin import PatchMerging
from idol_core.config import InputConfig, Precision, StageConfig, TrackerConfig
from idol_core.data.collate import STRIDE
from idol_core.export.quiet import quiet
from idol_core.export.resize import Resize
from idol_core.inference.exported import ExportedRows, GraphFacts
from idol_core.model.idol import IDOL
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.ops.numeric import at_least_float32, largest_float32
from idol_core.ops.precision import HALVES
from idol_core.structures import FrameBatch
from idol_core.tracking.masks import Size

LONGEST = 256 * STRIDE  # pixels of a side of the input
# The example frame of dynamic sizes. torch.export takes a number that is 1 or equal to another for a fixed one: maps of
# all strides have different sides here, and so have the windows of Swin-L in them, of which there are several.
TRACED = (25 * STRIDE, 41 * STRIDE)


class FrameToDetections(nn.Module):
    """Normalize, run the network, select. The shape of the frame alone decides the shapes of all outputs.

    Args:
        model: an evaluation copy with an embedding head, made for `precision`.
        rows: R, at most the number of queries.
        precision: "fp16" computes in float16 what autocast does; all outputs are float32 in any case.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, model: IDOL, *, input: InputConfig, tracker: TrackerConfig, rows: int, precision: Precision
    ) -> None:
        super().__init__()
        self.model = model
        self.min_score, self.box_nms, self.rows = tracker.select_threshold, tracker.box_nms, rows
        self.autocast_to = HALVES.get(precision)
        if self.autocast_to is not None:
            _keep_sums(model)
        self.register_buffer("pixel_mean", torch.tensor(input.pixel_mean).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(input.pixel_std).view(3, 1, 1))

    def forward(self, frame: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            frame: [H, W, 3] RGB, 0..255, H and W multiples of 32; the frame lies in the top left corner.
            size: [2] int64 (height, width) of the frame; what lies beyond is ignored.

        Returns:
            The fields of `ExportedRows`, in a plain tuple, which torch.export can write.
        """
        beyond_y = torch.arange(frame.shape[0]) >= size[0]
        beyond_x = torch.arange(frame.shape[1]) >= size[1]
        padding = (beyond_y[:, None] | beyond_x)[None]
        image = (frame.permute(2, 0, 1).float() - self.pixel_mean) / self.pixel_std
        images = image[None].masked_fill(padding[:, None], 0.0)
        with self._arithmetic():
            decoded = self.model(FrameBatch(images, padding, size[None]))
            features = self.model.mask_features(decoded)
        probs = decoded.logits[-1, 0].sigmoid()
        boxes = decoded.boxes[-1, 0]
        query, selected = select_rows(probs, boxes, min_score=self.min_score, box_nms=self.box_nms, rows=self.rows)
        scores, labels = probs[query].max(-1)
        row = torch.zeros_like(query)
        layer = torch.full_like(query, len(decoded.logits) - 1)
        found = ExportedRows(
            count=selected.clamp(max=self.rows),
            selected=selected,
            scores=scores,
            labels=labels,
            probs=probs[query],
            boxes=boxes[query],
            embeddings=self.model.embed(decoded.queries[-1, 0][query]),
            mask_logits=self.model.mask_logits(decoded, features, layer, row, query),
            queries=query,
        )
        return tuple(found)

    def _arithmetic(self) -> AbstractContextManager[None]:
        return nullcontext() if self.autocast_to is None else torch.autocast("cpu", self.autocast_to)


def _keep_sums(model: nn.Module) -> None:
    """Compute layer norms in float32, as autocast does on GPUs, and Swin's long sums, whose terms become large."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, inputs: tuple(map(at_least_float32, inputs)))
        elif isinstance(module, PatchMerging):
            module.register_forward_hook(lambda _, inputs, merged: at_least_float32(merged))


class ResizedToDetections(nn.Module):
    """`FrameToDetections` of frames of one size, [h, w, 3] uint8, which are resized and padded first."""

    size: Tensor

    def __init__(self, detect: FrameToDetections, frame: Size, resized: Size, padded: Size) -> None:
        super().__init__()
        self.detect, self.resize = detect, Resize(frame, resized)
        self.padding = (0, 0, 0, padded[1] - resized[1], 0, padded[0] - resized[0])
        self.register_buffer("size", torch.tensor(resized))

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        rows: tuple[Tensor, ...] = self.detect(F.pad(self.resize(frame), self.padding), self.size)
        return rows


def traced(network: IDOL, recipe: StageConfig, facts: GraphFacts) -> ExportedProgram:
    """Trace the graph of an evaluation copy with torch.export, for frames of the size in `facts`."""
    detect = FrameToDetections(
        network, input=recipe.input, tracker=recipe.tracker, rows=facts.rows, precision=facts.precision
    )
    module: nn.Module = detect
    height, width = facts.frame or facts.size or TRACED
    example: tuple[Tensor, ...] = (torch.zeros(height, width, 3, dtype=torch.uint8),)
    if facts.frame is None:
        example += (torch.tensor([height, width - 1]),)
    else:
        assert facts.resized is not None
        assert facts.size is not None
        module = ResizedToDetections(detect, facts.frame, facts.resized, facts.size)
    shapes: Any = None
    if facts.size is None:
        sides = {axis: STRIDE * torch.export.Dim(name, min=1, max=LONGEST // STRIDE) for axis, name in enumerate("hw")}
        shapes = {"frame": sides, "size": None}
    with quiet(), torch.no_grad():
        return torch.export.export(module.eval(), example, dynamic_shapes=shapes)


def select_rows(probs: Tensor, boxes: Tensor, *, min_score: float, box_nms: float, rows: int) -> tuple[Tensor, Tensor]:
    """`inference.select.select_queries` with a fixed number of rows.

    Returns:
        queries [rows] int64, those selected first, each part by falling score; number of selected queries, [] int64.
    """
    best, labels = probs.max(-1)
    index = torch.arange(len(best))
    equal_before = (best[:, None] == best) & (index[:, None] < index)
    better = (best[:, None] > best) | equal_before  # [n, n]: a row's query is better than a column's
    rank = better.sum(0)  # no two are equal, so every runtime sorts alike
    candidate = (best > min_score) | (rank == 0)
    kept = _greedy(candidate, _suppresses(boxes, labels, candidate, box_nms) & better)
    _, query = (torch.where(kept, 0, len(best)) + rank).topk(rows, largest=False)
    return query, kept.sum()


def _suppresses(boxes: Tensor, labels: Tensor, candidate: Tensor, threshold: float) -> Tensor:
    """Pairs of boxes [n, n] bool of one class with an IoU above the threshold, with the rounding of `class_nms`."""
    corners = cxcywh_to_xyxy(boxes)
    furthest = corners.masked_fill(~candidate[:, None], -torch.inf).max()
    corners = corners + (labels.to(corners) * (furthest + 1))[:, None]
    left, top, right, bottom = corners.unbind(-1)
    width = (torch.minimum(right[:, None], right) - torch.maximum(left[:, None], left)).clamp(min=0)
    height = (torch.minimum(bottom[:, None], bottom) - torch.maximum(top[:, None], top)).clamp(min=0)
    inter, area = width * height, (right - left) * (bottom - top)
    return inter / (area[:, None] + area - inter) > largest_float32(threshold)


def _greedy(candidate: Tensor, suppresses: Tensor) -> Tensor:
    """Greedy suppression: keep a candidate [n] bool that no kept one suppresses ([n, n] bool: better ones only).

    Every round settles at least one more candidate; it ends when a round changes nothing, mostly after two or three.
    """

    def more(kept: Tensor, changed: Tensor) -> Tensor:
        return changed.clone()

    def settle(kept: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        now = candidate & ~(kept[:, None] & suppresses).any(0)
        return now, (now != kept).any()

    kept, _ = torch.while_loop(more, settle, (candidate.clone(), torch.ones((), dtype=torch.bool)))
    return kept
