"""Convert between our structures and detectron2's (ImageList, Instances, BitMasks)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks, Boxes, ImageList, Instances, PolygonMasks
from pycocotools import mask as coco_mask
from torch import Tensor

from idol_core.data.collate import STRIDE, Sample
from idol_core.errors import InvalidInput
from idol_core.inference.images import StillInstances
from idol_core.ops.pixels import normalized
from idol_core.structures import FrameBatch
from idol_core.tracking.masks import decode_masks
from idol_core.tracking.online import TrackedFrame

Size = tuple[int, int]  # (height, width) in pixels
ABSENT = -1  # in `gt_ids`: the object is not in this frame


def image_list_to_frames(images: ImageList) -> FrameBatch:
    """Convert normalized images to a FrameBatch: pad on to multiples of 32, derive the padding mask from the sizes."""
    height, width = images.tensor.shape[-2:]
    tensor = F.pad(images.tensor, (0, -width % STRIDE, 0, -height % STRIDE))
    device = tensor.device
    sizes = torch.tensor([tuple(size) for size in images.image_sizes], dtype=torch.int64, device=device).reshape(-1, 2)
    rows = torch.arange(tensor.shape[-2], device=device)[None, :, None] >= sizes[:, 0, None, None]
    columns = torch.arange(tensor.shape[-1], device=device)[None, None, :] >= sizes[:, 1, None, None]
    return FrameBatch(tensor, rows | columns, sizes)


def frames_to_image_list(frames: FrameBatch) -> ImageList:
    """Convert a FrameBatch to an ImageList of the same images, normalized, with their sizes."""
    return ImageList(normalized(frames).images, [(height, width) for height, width in frames.sizes.tolist()])


def instances_to_sample(image: Tensor, instances: Instances) -> Sample:
    """Convert a frame [3, h, w] (RGB, 0..255) and its ground truth to a Sample, all on the CPU.

    Uses gt_classes, gt_boxes, gt_masks (BitMasks, PolygonMasks or a tensor) and, for tracked objects, gt_ids: -1 for
    an absent one. Raises InvalidInput if the masks do not have the frame's size.
    """
    size = (int(image.shape[-2]), int(image.shape[-1]))
    masks = _dense(instances.gt_masks, size)
    if len(masks) and tuple(masks.shape[-2:]) != size:
        raise InvalidInput(
            f"gt_masks are {tuple(masks.shape[-2:])}, their frame is {size}", fix="transform frames and masks alike"
        )
    present = torch.ones(len(instances), dtype=torch.bool)
    if instances.has("gt_ids"):
        present = torch.as_tensor(instances.gt_ids).cpu() != ABSENT
    labels = torch.as_tensor(instances.gt_classes).cpu().long()
    return Sample(image.cpu(), labels, instances.gt_boxes.tensor.cpu().float(), masks.reshape(-1, *size), present)


def sample_to_instances(sample: Sample, ids: Sequence[int] | None = None) -> Instances:
    """Convert the ground truth of a frame; row i has the identity `ids[i]` (default: i), or -1 if it is absent."""
    height, width = sample.image.shape[-2:]
    found = Instances((int(height), int(width)))
    found.gt_boxes = Boxes(sample.boxes)
    found.gt_classes = sample.labels
    found.gt_masks = BitMasks(sample.masks.bool())
    numbers = torch.arange(len(sample.labels)) if ids is None else torch.tensor(list(ids), dtype=torch.int64)
    found.gt_ids = numbers.where(sample.present, torch.tensor(ABSENT))
    return found


def tracked_to_instances(frame: TrackedFrame) -> Instances:
    """Convert a tracked frame: pred_boxes, scores, pred_classes, pred_masks (bool [m, H, W]) and track_ids."""
    found = _predicted(frame.size, torch.from_numpy(frame.boxes), torch.from_numpy(frame.scores), frame.labels)
    found.pred_masks = torch.from_numpy(frame.masks)
    found.track_ids = torch.from_numpy(frame.track_ids)
    return found


def stills_to_instances(found: StillInstances, size: Size) -> Instances:
    """Convert the results on an image of `size`: pred_boxes, scores, pred_classes, pred_masks (bool [n, H, W])."""
    instances = _predicted(size, found.boxes.cpu(), found.scores.cpu(), found.classes.cpu())
    instances.pred_masks = torch.from_numpy(decode_masks(found.counts, size))
    return instances


def bit_masks_to_rles(masks: BitMasks | Tensor) -> list[dict[str, Any]]:
    """Encode [n, h, w] masks as COCO's compressed RLE, counts as text."""
    dense = (masks.tensor if isinstance(masks, BitMasks) else masks).cpu().numpy().astype(np.uint8)
    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in dense]
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in rles]


def rles_to_bit_masks(rles: Sequence[dict[str, Any]], size: Size) -> BitMasks:
    """Decode compressed RLEs (counts as text or bytes), all of `size`."""
    counts = [rle["counts"].encode("ascii") if isinstance(rle["counts"], str) else rle["counts"] for rle in rles]
    return BitMasks(torch.from_numpy(decode_masks(counts, size)))


def _predicted(size: Size, boxes: Tensor, scores: Tensor, classes: Any) -> Instances:
    found = Instances(size)
    found.pred_boxes = Boxes(boxes)
    found.scores = scores
    found.pred_classes = torch.as_tensor(classes)
    return found


def _dense(masks: Any, size: Size) -> Tensor:
    """Convert any form of ground-truth masks to a tensor [n, h, w] bool."""
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *size)
    tensor: Tensor = masks.tensor if isinstance(masks, BitMasks) else masks
    return tensor.cpu().bool()
