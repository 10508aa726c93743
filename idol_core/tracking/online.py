"""Track one video online: the network's output for each frame goes in, tracked frames come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from idol_core.config import TrackerConfig
from idol_core.errors import InvalidInput
from idol_core.ops.boxes import cxcywh_to_xyxy
from idol_core.structures import Detections
from idol_core.tracking.conversions import frame_to_supervision
from idol_core.tracking.device_masks import encode_changes
from idol_core.tracking.masks import Size, decode_masks, encode_masks
from idol_core.tracking.tracker import Tracker, mask_overlaps
from idol_core.tracking.tracks import ClassScores, Floats, VideoAssembler, VideoTracks


class LeftDevice(NamedTuple):
    """What the CPU needs to know of a frame's n masks, whose logits stay on a GPU."""

    overlaps: Floats  # [n, n] mask IoU
    changes: NDArray[np.uint8]  # [n, bytes], see `mask_changes`


class Observation(NamedTuple):
    """The detections of one frame. All is on the CPU, except the mask logits if `masks` is given."""

    detections: Detections
    size: Size  # of the frame in the network, without padding
    original: Size
    masks: LeftDevice | None = None

    def overlaps(self) -> Floats:
        """Mask IoU of every two detections, [n, n]."""
        return mask_overlaps(self.detections.mask_logits) if self.masks is None else self.masks.overlaps

    def encode(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Compressed COCO RLE counts of the masks `rows`, in the original frame's size."""
        if self.masks is None:
            return encode_masks(self.detections.mask_logits[torch.from_numpy(rows)], self.size, self.original)
        return encode_changes(self.masks.changes[rows], self.original)


class TrackedFrame(NamedTuple):
    """The m tracks that are present in a frame, by falling score of their detections."""

    frame: int  # index in the video
    track_ids: NDArray[np.int64]  # [m]
    labels: NDArray[np.int64]  # [m] class index: each track's best over its frames up to this one
    scores: Floats  # [m] of that class, over the same frames
    boxes: Floats  # [m, 4] xyxy, pixels of the original frame
    counts: list[bytes]  # [m] masks, compressed COCO run lengths
    size: Size  # of the original frame

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Masks [m, H, W] bool, decoded at each call."""
        return decode_masks(self.counts, self.size)

    @property
    def rles(self) -> list[dict[str, Any]]:
        """The masks as RLE dicts of COCO's JSON."""
        return [{"size": list(self.size), "counts": counts.decode("ascii")} for counts in self.counts]

    def to_supervision(self, classes: Sequence[str] | None = None) -> Any:
        """The frame as supervision.Detections, with masks, tracker_id, and data["class_name"].

        `classes`: names by class index, such as the segmenter's `classes`; default: their numbers.
        Raises Missing if the package supervision is not installed.
        """
        return frame_to_supervision(self, classes)


class OnlineVideo:
    """The tracking state of one stream. With `keep`, whole-video tracks are collected too (as RLEs); otherwise memory
    does not grow with the video's length."""

    def __init__(self, config: TrackerConfig, *, keep: bool) -> None:
        self.config = config
        self.tracker = Tracker(config)
        self.assembler = VideoAssembler(config) if keep else None
        self.size: Size | None = None  # of the original frames, from the first one on
        self._classes: dict[int, ClassScores] = {}

    def step(self, seen: Observation) -> TrackedFrame:
        """Track the next frame. Raises InvalidInput if its original size differs from the first frame's."""
        if self.size is None:
            self.size = seen.original
        if self.size != seen.original:
            raise InvalidInput(
                f"frame {self.tracker.frame} is {seen.original[1]}x{seen.original[0]}, "
                f"the frames before it {self.size[1]}x{self.size[0]}",
                fix="split the video where its resolution changes",
            )
        frame = self.tracker.frame
        found = seen.detections
        ids = self.tracker.associate(found.scores.numpy(), found.embeddings.numpy(), seen.overlaps())
        present = np.flatnonzero(ids >= 0)
        probs: Floats = found.probs.numpy()[present]
        counts = seen.encode(present)
        if self.assembler is not None:
            self.assembler.add(ids[present].tolist(), probs, counts)
        labels, scores = self._classify(ids[present], probs)
        height, width = seen.original
        corners = cxcywh_to_xyxy(found.boxes[torch.from_numpy(present)])
        boxes = corners * torch.tensor([width, height, width, height])
        return TrackedFrame(frame, ids[present], labels, scores, boxes.numpy(), counts, seen.original)

    def tracks(self) -> VideoTracks:
        """Whole-video tracks of the frames so far. Raises ValueError without `keep`."""
        if self.assembler is None:
            raise ValueError("whole-video tracks are collected with keep=True only")
        return self.assembler.finish(self.size or (0, 0))

    def state(self) -> dict[str, Any]:
        """The complete state, as arrays, bytes and numbers; see `restore`."""
        return {
            "size": self.size,
            "tracker": self.tracker.state(),
            "classes": {identity: scores.state() for identity, scores in self._classes.items()},
            "assembler": self.assembler.state() if self.assembler is not None else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, for a video of the same configuration and the same `keep`."""
        self.size = state["size"]
        self.tracker.restore(state["tracker"])
        self._classes = {identity: ClassScores.restored(scores) for identity, scores in state["classes"].items()}
        if self.assembler is not None:
            self.assembler.restore(state["assembler"])

    def _classify(self, ids: NDArray[np.int64], probs: Floats) -> tuple[NDArray[np.int64], Floats]:
        for identity, vector in zip(ids.tolist(), probs, strict=True):
            self._classes.setdefault(identity, ClassScores(len(vector))).add(vector)
        values = np.stack([self._classes[i].value(self.config) for i in ids.tolist()]) if len(ids) else probs
        alive = self.tracker.memory.tracks
        self._classes = {identity: scores for identity, scores in self._classes.items() if identity in alive}
        return values.argmax(-1), values.max(-1) if len(ids) else np.zeros(0, np.float32)
