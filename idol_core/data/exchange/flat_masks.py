"""Bring labels into what mask images can hold: one object per pixel, and frames in a folder per clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.data.annotations import rle
from idol_core.data.annotations.rle import RLE
from idol_core.data.exchange.labels import (
    ImageFiles,
    LabelledClip,
    LabelledTrack,
    LabelSet,
    Mask,
    as_rle,
    image_names,
    united,
)
from idol_core.data.exchange.mask_folders import frame_number


def with_note(labels: LabelSet, sentence: str) -> LabelSet:
    """The labels with one more sentence in `left_out`."""
    return replace(labels, left_out=(*labels.left_out, sentence))


def flattened(labels: LabelSet) -> LabelSet:
    """The labels with masks that do not overlap, as RLE: the earlier track keeps a pixel; crowds come last.

    `left_out` counts the masks that lost pixels to another object; those that lost all, and empty ones, are dropped.
    """
    clips, cut = [], 0
    for clip in labels.clips:
        flat, lost = _flat(clip)
        clips.append(flat)
        cut += lost
    flat_labels = replace(labels, clips=tuple(clips))
    if cut:
        return with_note(flat_labels, f"the pixels of {cut} masks that an earlier track of the frame has too")
    return flat_labels


def frames_named(labels: LabelSet, stems_of: Callable[[LabelledClip], Sequence[str]]) -> LabelSet:
    """The labels with frames named CLIP/STEM and the ending of their file."""
    clips = []
    for clip in labels.clips:
        endings = [PurePosixPath(name).suffix for name in image_names(clip)]
        names = [f"{clip.name}/{stem}{ending}" for stem, ending in zip(stems_of(clip), endings, strict=True)]
        clips.append(replace(clip, frames=ImageFiles(tuple(names))))
    return replace(labels, clips=tuple(clips))


def own_stems(clip: LabelledClip) -> list[str]:
    """The stems of a clip's frames; 00000, 00001, ... if two are of the same number."""
    stems = [PurePosixPath(name).stem for name in image_names(clip)]
    unique = len(set(map(frame_number, stems))) == len(stems)
    return stems if unique else [f"{t:05d}" for t in range(len(stems))]


def one_crowd(clip: LabelledClip, identity: int, category: str) -> list[LabelledTrack]:
    """The crowds of a clip as one track; none if there is none."""
    crowds = [track for track in clip.tracks if track.crowd]
    masks = {
        t: united([track.masks[t] for track in crowds if t in track.masks], clip.height, clip.width)
        for t in sorted({t for track in crowds for t in track.masks})
    }
    return [LabelledTrack(identity, category, masks, True)] if masks else []


def without_crowds(labels: LabelSet) -> LabelSet:
    """The labels without crowds, for formats that would show them as objects; `left_out` counts them."""
    clips = [replace(clip, tracks=tuple(track for track in clip.tracks if not track.crowd)) for clip in labels.clips]
    count = sum(track.crowd for clip in labels.clips for track in clip.tracks)
    fitted = replace(labels, clips=tuple(clips))
    return with_note(fitted, f"{count} crowds, which the format cannot mark as such") if count else fitted


def _flat(clip: LabelledClip) -> tuple[LabelledClip, int]:
    """The clip without overlaps, and the number of masks that lost pixels to an object."""
    order = sorted(clip.tracks, key=lambda track: track.crowd)
    masks: dict[int, dict[int, Mask]] = {track.id: {} for track in order}
    cut = 0
    for t in range(clip.length):
        taken: RLE | None = None
        for track in order:
            if t not in track.masks:
                continue
            whole = as_rle(track.masks[t], clip.height, clip.width)
            mask = whole if taken is None else _without(whole, taken, clip)
            cut += mask is not whole and not track.crowd
            if coco_mask.area(mask):
                masks[track.id][t] = mask
            taken = whole if taken is None else coco_mask.merge([taken, whole])
    tracks = [replace(track, masks=masks[track.id]) for track in clip.tracks]
    return replace(clip, tracks=tuple(track for track in tracks if track.masks)), cut


def _without(mask: RLE, taken: RLE, clip: LabelledClip) -> RLE:
    """The pixels of a mask that are not taken; the mask itself if none is."""
    if not coco_mask.area(coco_mask.merge([mask, taken], intersect=True)):
        return mask
    pixels = rle.decode([mask, taken], clip.height, clip.width).astype(np.bool_)
    return rle.encode(pixels[0] & ~pixels[1])
