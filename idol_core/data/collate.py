"""Collate frames and instances of several items into one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.config import InputConfig
from idol_core.structures import Batch, FrameBatch, Targets

STRIDE = 32  # frames are padded to a multiple of this, in pixels


class Sample(NamedTuple):
    """A frame and its n instances after augmentation. Rows with `present` False hold no valid values."""

    image: Tensor  # [3, h, w] uint8 RGB
    labels: Tensor  # [n] int64
    boxes: Tensor  # [n, 4] float32, xyxy in pixels
    masks: Tensor  # [n, h, w] bool or uint8 of 0 and 1
    present: Tensor  # [n] bool


def collate_images(samples: Sequence[Sample], *, config: InputConfig, sample_ids: Sequence[str] = ()) -> Batch:
    """Make a batch of step 1: one frame per item, without absent instances."""
    kept = [_select(sample, sample.present) for sample in samples]
    frames = collate_frames([sample.image for sample in samples], config=config)
    return Batch(frames, _targets(kept, frames), None, tuple(sample_ids))


def collate_pairs(
    pairs: Sequence[tuple[Sample, Sample]], *, config: InputConfig, sample_ids: Sequence[str] = ()
) -> Batch:
    """Make a batch of steps 2 and 3 from (key, reference) samples with instances in the same order.

    Instances absent in key are dropped from both; those absent only in the reference keep their row, marked invalid.
    """
    keys = [_select(key, key.present) for key, _ in pairs]
    refs = [_select(ref, key.present) for key, ref in pairs]
    frames = collate_frames([sample.image for pair in pairs for sample in pair], config=config)
    ref = _targets(refs, frames)
    return Batch(frames, _targets(keys, frames), ref, tuple(sample_ids), bool(ref.valid.any()))


def collate_clips(clips: Sequence[Sequence[Sample]], *, config: InputConfig, sample_ids: Sequence[str] = ()) -> Batch:
    """Make a batch of steps 2 and 3 from clips of equally many samples, with instances in the same order.

    Instances absent from all frames of their clip are dropped; in frames without them their row is marked invalid.
    """
    kept = []
    for clip in clips:
        anywhere = torch.stack([sample.present for sample in clip]).any(0)
        kept += [_select(sample, anywhere) for sample in clip]
    frames = collate_frames([sample.image for sample in kept], config=config)
    batch = Batch(frames, _targets(kept, frames), None, tuple(sample_ids), clip_frames=len(clips[0]))
    return batch._replace(in_both=batch.objects_recur())


def collate_frames(images: Sequence[Tensor], *, config: InputConfig) -> FrameBatch:
    """Pad [3, h, w] frames (pixels 0..255) with zeros to the largest size, rounded up to a multiple of 32.

    uint8 frames stay bytes: the network normalizes them on its device, by the mean and deviation of `config`.
    """
    sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.int64).reshape(-1, 2)
    height, width = (-(-int(side) // STRIDE) * STRIDE for side in sizes.amax(0))
    dtype = torch.uint8 if all(image.dtype == torch.uint8 for image in images) else torch.float32
    batch = torch.zeros(len(images), 3, height, width, dtype=dtype)
    padding = torch.ones(len(images), height, width, dtype=torch.bool)
    for row, image in enumerate(images):
        h, w = image.shape[-2:]
        batch[row, :, :h, :w] = image
        padding[row, :h, :w] = False
    known_sizes = tuple((int(h), int(w)) for h, w in sizes.tolist())
    return FrameBatch(batch, padding, sizes, known_sizes, (config.pixel_mean, config.pixel_std))


def pad_batch(batch: Batch, height: int, width: int) -> Batch:
    """Pad a batch at the bottom and right to at least (height, width), both multiples of 32."""
    down, right = (
        max(0, most - side) for most, side in zip((height, width), batch.frames.images.shape[-2:], strict=True)
    )
    if not down and not right:
        return batch
    images = F.pad(batch.frames.images, (0, right, 0, down))
    padding = F.pad(batch.frames.padding, (0, right, 0, down), value=True)

    def larger(targets: Targets) -> Targets:
        return targets._replace(masks=F.pad(targets.masks, (0, right // 4, 0, down // 4)))

    ref = None if batch.ref is None else larger(batch.ref)
    frames = batch.frames._replace(images=images, padding=padding)
    return batch._replace(frames=frames, key=larger(batch.key), ref=ref)


def _select(sample: Sample, keep: Tensor) -> Sample:
    if bool(keep.all()):
        return sample
    return Sample(sample.image, *(field[keep] for field in sample[1:]))


def _targets(samples: Sequence[Sample], frames: FrameBatch) -> Targets:
    """Pad the instances to the largest number; masks are sampled at offset 2, stride 4 of the padded frame."""
    count, most = len(samples), max(len(sample.labels) for sample in samples)
    labels = torch.zeros(count, most, dtype=torch.int64)
    boxes = torch.zeros(count, most, 4)
    masks = torch.zeros(count, most, frames.images.shape[-2] // 4, frames.images.shape[-1] // 4, dtype=torch.bool)
    valid = torch.zeros(count, most, dtype=torch.bool)
    for row, sample in enumerate(samples):
        n = len(sample.labels)
        if not n:
            continue
        h, w = sample.image.shape[-2:]
        x0, y0, x1, y1 = (sample.boxes / sample.boxes.new_tensor((w, h, w, h))).unbind(-1)
        small = sample.masks[:, 2::4, 2::4]
        labels[row, :n] = sample.labels
        boxes[row, :n] = torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)
        masks[row, :n, : small.shape[1], : small.shape[2]] = small
        valid[row, :n] = sample.present
    absent = ~valid
    labels[absent], boxes[absent], masks[absent] = 0, 0, False
    return Targets(labels, boxes, masks, valid)
