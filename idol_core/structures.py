"""Groups of tensors that the modules of idol_core pass to each other.

B frames, N instances (padded), Q queries, K classes, C channels, L decoder layers.

Boxes are cxcywh, normalized by the un-padded image size, unless a name says xyxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class FrameBatch(NamedTuple):
    """Frames as the network sees them: normalized, zero-padded at the bottom and right to a multiple of 32."""

    images: Tensor  # [B, 3, H, W] float32
    padding: Tensor  # [B, H, W] bool, True on padding
    sizes: Tensor  # [B, 2] int64, (height, width) without padding
    known_sizes: tuple[tuple[int, int], ...] | None = None  # the same as integers: no wait for the device

    def to(self, device: object, *, non_blocking: bool = True) -> FrameBatch:
        images, padding, sizes = (t.to(device, non_blocking=non_blocking) for t in self[:3])  # type: ignore[call-overload]
        return FrameBatch(images, padding, sizes, self.known_sizes)


class Targets(NamedTuple):
    """Instances of B frames, padded to the largest number N. Rows where `valid` is False are zero."""

    labels: Tensor  # [B, N] int64, 0..K-1
    boxes: Tensor  # [B, N, 4] float32, cxcywh normalized
    masks: Tensor  # [B, N, H/4, W/4] bool: the padded full-size mask sampled at [2::4, 2::4]
    valid: Tensor  # [B, N] bool

    def to(self, device: object, *, non_blocking: bool = True) -> Targets:
        return Targets(*(t.to(device, non_blocking=non_blocking) for t in self))  # type: ignore[call-overload]


class Batch(NamedTuple):
    """One micro-batch.

    Step 1: `frames` are the images and `ref` is None. Steps 2, 3: frames are interleaved key, ref, key, ref ...; `key`
    and `ref` have a row per pair, and entry j of both is the same object. `key` holds only instances present in the key
    frame; `ref.valid` is False where such an instance is absent from the reference frame.
    """

    frames: FrameBatch
    key: Targets
    ref: Targets | None
    sample_ids: tuple[str, ...]  # where each item came from, for error messages
    in_both: bool | None = None  # whether any instance is present in both frames of a pair; None: ask `ref.valid`

    def to(self, device: object) -> Batch:
        ref = None if self.ref is None else self.ref.to(device)
        return self._replace(frames=self.frames.to(device), key=self.key.to(device), ref=ref)


@dataclass(frozen=True)
class Decoded:
    """Output of the network for B frames, from which masks and embeddings of chosen queries are computed on demand."""

    queries: Tensor  # [L, B, Q, C] decoder output of every layer
    logits: Tensor  # [L, B, Q, K] before sigmoid
    boxes: Tensor  # [L, B, Q, 4] in 0..1
    references: Tensor  # [L, B, Q, 2] normalized xy that went INTO layer l's box prediction (the mask head's points)
    memory: Tensor  # [B, S, C] encoder output, levels concatenated row-major
    level_shapes: tuple[tuple[int, int], ...]  # (h, w) of every level
    sizes: Tensor  # [B, 2] int64, (height, width) without padding

    def frames(self, rows: slice) -> Decoded:
        """Select some frames of the batch, e.g. slice(0, None, 2) for the key frames."""
        return Decoded(
            self.queries[:, rows], self.logits[:, rows], self.boxes[:, rows], self.references[:, rows],
            self.memory[rows], self.level_shapes, self.sizes[rows],
        )  # fmt: skip


class Detections(NamedTuple):
    """The n queries of one frame that go to the tracker, by descending score (unless stated otherwise)."""

    scores: Tensor  # [n] best class probability
    labels: Tensor  # [n] int64
    probs: Tensor  # [n, K] all class probabilities
    boxes: Tensor  # [n, 4] cxcywh normalized
    embeddings: Tensor  # [n, C]
    mask_logits: Tensor  # [n, H/4, W/4] over the padded frame
