"""Groups of tensors that the modules of idol_core pass to each other.

B frames, N instances (padded), Q queries, K classes, C channels, L decoder layers.

Boxes are cxcywh, normalized by the un-padded image size, unless a name says xyxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class FrameBatch(NamedTuple):
    """Frames zero-padded at the bottom and right to a multiple of 32: RGB bytes, or normalized for the network."""

    images: Tensor  # [B, 3, H, W]: pixels 0..255 (uint8 if the frames were) where `scale` is given, else float32
    padding: Tensor  # [B, H, W] bool, True on padding
    sizes: Tensor  # [B, 2] int64, (height, width) without padding
    known_sizes: tuple[tuple[int, int], ...] | None = None  # the same as integers: no wait for the device
    # Mean and standard deviation of the three channels, by which `images` are still to be normalized.
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def to(self, device: torch.device | str) -> FrameBatch:
        images, padding, sizes = (_sent(tensor, device) for tensor in self[:3])
        return self._replace(images=images, padding=padding, sizes=sizes)


class Targets(NamedTuple):
    """Instances of B frames, padded to the largest number N. Rows where `valid` is False are zero."""

    labels: Tensor  # [B, N] int64, 0..K-1
    boxes: Tensor  # [B, N, 4] float32, cxcywh normalized
    masks: Tensor  # [B, N, H/4, W/4] bool: the padded full-size mask sampled at [2::4, 2::4]
    valid: Tensor  # [B, N] bool

    def to(self, device: torch.device | str) -> Targets:
        return Targets(*(_sent(tensor, device) for tensor in self))


class Batch(NamedTuple):
    """One micro-batch.

    Step 1: `frames` are the images and `ref` is None. Steps 2, 3: frames are interleaved key, ref, key, ref ...; `key`
    and `ref` have a row per pair, and entry j of both is the same object. `key` holds only instances present in the key
    frame; `ref.valid` is False where such an instance is absent from the reference frame. Steps 2 and 3 with
    `loss.association` "memory": `clip_frames` consecutive rows of `frames` and `key` are a clip, entry j of its rows is
    the same object, and `ref` is None.
    """

    frames: FrameBatch
    key: Targets
    ref: Targets | None
    sample_ids: tuple[str, ...]  # where each item came from, for error messages
    in_both: bool | None = None  # whether any instance is present in two frames of its item; None: ask the targets
    clip_frames: int = 1

    def objects_recur(self) -> bool:
        """Whether any instance is present in both frames of a pair, or in two frames of a clip."""
        if self.in_both is not None:
            return self.in_both
        if self.clip_frames > 1:
            return bool((self.key.valid.unflatten(0, (-1, self.clip_frames)).sum(1) > 1).any())
        return self.ref is not None and bool(self.ref.valid.any())

    def to(self, device: torch.device | str) -> Batch:
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

    def place(self, layer: Tensor, row: Tensor, query: Tensor) -> Tensor:
        """Index chosen queries among those of all layers and frames, for `chosen`: three int64 [n] -> [n]."""
        _, frames, queries = self.logits.shape[:3]
        return (layer * frames + row) * queries + query


def chosen(values: Tensor, place: Tensor) -> Tensor:
    """Take the values of n queries from [L, B, Q, ...], by `Decoded.place`: [n, ...].

    As values[layer, row, query], whose backward pass sorts the indices on a GPU, in some 15 operations.
    """
    return values.flatten(0, 2).index_select(0, place)


def _sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Send a tensor to a device without waiting for it: CUDA copies only from pinned memory beside other work."""
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        tensor = tensor.contiguous().pin_memory()  # an expanded tensor can't be pinned
    return tensor.to(device, non_blocking=True)


class Detections(NamedTuple):
    """The n queries of one frame that go to the tracker, by descending score (unless stated otherwise)."""

    scores: Tensor  # [n] best class probability
    labels: Tensor  # [n] int64
    probs: Tensor  # [n, K] all class probabilities
    boxes: Tensor  # [n, 4] cxcywh normalized
    embeddings: Tensor  # [n, C]
    mask_logits: Tensor  # [n, H/4, W/4] over the padded frame
