"""Online association: assign the detections of each new frame to tracks (paper section 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idol_core.config import TrackerConfig
from idol_core.ops.nms import suppress_greedily
from idol_core.structures import Detections
from idol_core.tracking.memory import Memory

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

UNASSIGNED = -1
OVERLAPPING = -2  # unassigned, and overlaps a better detection
REMOVED = -3  # by mask NMS

_OVERLAPPING_IOU = np.float32(0.05)


class Tracker:
    """Assigns track identities to the detections of each frame in turn.

    All numbers are float32, so that comparisons with thresholds come out exactly as in the original.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.memory = Memory(
            length=config.memory_length,
            max_missed=config.max_missed,
            temporal_weighting=config.temporal_weighting,
            similarity_weighting=config.similarity_weighting,
        )
        self.frame = 0
        self.next_id = 0

    def step(self, detections: Detections) -> Ids:
        """Identities of the next frame's n detections, in their order: [n] int64.

        0 and up is a track; UNASSIGNED, OVERLAPPING and REMOVED detections belong to none.
        """
        scores, embeddings = (_to_numpy(part) for part in (detections.scores, detections.embeddings))
        return self.associate(scores, embeddings, mask_overlaps(detections.mask_logits))

    def associate(self, scores: Floats, embeddings: Floats, overlaps: Floats) -> Ids:
        """As `step`, from scores [n], embeddings [n, C] and the mask IoU of every two detections [n, n]."""
        kept = suppress(overlaps, self.config.mask_nms)
        ids = np.full(len(scores), REMOVED, np.int64)
        ids[kept] = self._match(embeddings[kept])
        threshold = self.config.new_threshold if len(self.memory) else self.config.init_threshold
        new = kept[(ids[kept] < 0) & (scores[kept] > np.float32(threshold))]
        ids[new] = np.arange(self.next_id, self.next_id + len(new))
        self.next_id += len(new)
        for place, i in enumerate(kept):
            if ids[i] < 0:
                alone = (overlaps[i, kept[:place]] < _OVERLAPPING_IOU).all()
                ids[i] = UNASSIGNED if alone else OVERLAPPING
        for i in kept[ids[kept] >= 0]:
            self.memory.see(int(ids[i]), embeddings[i], scores[i], self.frame)
        self.memory.forget(self.frame)
        self.frame += 1
        return ids

    def state(self) -> dict[str, Any]:
        """The complete state, as arrays and numbers; see `restore`."""
        return {"frame": self.frame, "next_id": self.next_id, "memory": self.memory.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, for a tracker of the same configuration."""
        self.frame, self.next_id = state["frame"], state["next_id"]
        self.memory.restore(state["memory"])

    def _match(self, embeddings: Floats) -> Ids:
        """Match each detection to the most similar track; UNASSIGNED if that is taken or not similar enough."""
        ids = np.full(len(embeddings), UNASSIGNED, np.int64)
        if not len(self.memory) or not len(embeddings):
            return ids
        threshold = np.float32(self.config.match_threshold)
        weighted = self.config.frame_weighting or self.config.temporal_weighting
        similarity = bisoftmax(embeddings @ self.memory.representatives().T)
        identities, frames_seen = self.memory.ids(), self.memory.frames_seen().astype(np.float32)
        for i, row in enumerate(similarity):
            rivals = row > threshold
            if not rivals.any():
                continue
            if weighted and rivals.sum() > 1:
                row = row * np.where(rivals, frames_seen, frames_seen[rivals].mean())
            best = row.argmax()
            if row[best] > threshold:
                ids[i] = identities[best]
                similarity[:, best] = 0  # taken: no other detection can match it
        return ids


def bisoftmax(products: Floats) -> Floats:
    """Mean of the softmax over tracks and the softmax over detections of dot products [n detections, m tracks]."""
    halves = []
    for axis in (1, 0):
        powers = np.exp(products - products.max(axis, keepdims=True))
        halves.append(powers / powers.sum(axis, keepdims=True))
    result: Floats = (halves[0] + halves[1]) / np.float32(2)
    return result


def suppress(overlaps: Floats, threshold: float) -> Ids:
    """Mask NMS, best first: indices of the masks whose IoU with every mask kept before is at most the threshold."""
    return suppress_greedily(overlaps > np.float32(threshold))


def mask_overlaps(mask_logits: Tensor) -> Floats:
    """Mask IoU of every two of n masks given as logits [n, h, w], foreground above 0: [n, n] float32, on the CPU."""
    return overlaps_of(mask_intersections(mask_logits))


def mask_intersections(mask_logits: Tensor) -> Tensor:
    """Pixels that every two of n masks share, given as logits [n, h, w]: [n, n] float32, on the logits' device."""
    masks = (mask_logits > 0).flatten(1).float()
    return masks @ masks.T  # whole numbers: exact


def overlaps_of(intersections: Tensor) -> Floats:
    """Mask IoU from `mask_intersections`. 1e-6 is added to intersection and union: two empty masks have IoU 1."""
    areas = intersections.diagonal()
    union = areas[:, None] + areas[None] - intersections
    return _to_numpy((intersections + 1e-6) / (union + 1e-6))


def _to_numpy(values: Tensor) -> Floats:
    result: Floats = values.detach().to("cpu", torch.float32).numpy()
    return result
