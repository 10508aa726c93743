"""The plain form between label formats: clips, their frames, and tracks with a mask per frame.

Every reader of this package returns a `LabelSet`, every writer takes one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from idol_core.data.annotations import rle
from idol_core.data.annotations.fields import MOST_SIDE
from idol_core.data.annotations.rle import RLE
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.data.frames import MAX_PIXELS

Polygons = tuple[tuple[float, ...], ...]  # each flat x0, y0, x1, y1, ... in pixels; (0, 0) is the frame's corner
MOST_CELLS = 2**24  # tracks times frames of a set: training's files have a place for every track in every frame
Mask = RLE | Polygons  # of one object in one frame; several polygons are its parts


@dataclass(frozen=True)
class ImageFiles:
    """Frames that are image files: a name each, relative to `LabelSet.folder`, with `/` between folders."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class VideoFrames:
    """Frames that are pictures of one video, by their number in it from 0, ascending.

    `video` is the file's name as the annotations give it, "" if they give none. Where the video was cut into image
    files, frame n is file n in the order of their numbers.
    """

    video: str
    numbers: Sequence[int]
    sorted_by_tool: bool = False  # images that the tool numbered, by an order that the labels do not say


@dataclass(frozen=True)
class LabelledTrack:
    """One object of a clip."""

    id: int  # unique in its clip
    category: str
    masks: Mapping[int, Mask]  # by index into the clip's frames, from 0; absent frames are not in it
    crowd: bool = False  # a group, or a region to ignore


@dataclass(frozen=True)
class LabelledClip:
    """Frames of one size, in order, with the tracks of their objects."""

    name: str
    height: int  # pixels
    width: int
    frames: ImageFiles | VideoFrames
    tracks: tuple[LabelledTrack, ...]

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.frames.names if isinstance(self.frames, ImageFiles) else self.frames.numbers)


@dataclass(frozen=True)
class LabelSet:
    """A set of labelled clips."""

    clips: tuple[LabelledClip, ...]
    categories: tuple[str, ...]  # in the order that ids are given, from 1
    tracked: bool = True  # False: no identities; each clip is one image
    folder: str = ""  # that the names of image files are relative to
    left_out: tuple[str, ...] = ()  # what the reader did not take, and why: a sentence each
    mask_folder: str = ""  # folder of mask images, which are never taken for frames; "": none


def read_mask(value: Any, height: int, width: int) -> Mask | None:
    """Read a segmentation of COCO's form, as `read_segmentation` does; None: absent. Polygons stay polygons.

    Raises ValueError for a segmentation that is malformed or does not fill its frame.
    """
    if isinstance(value, list) and value and not isinstance(value[0], dict):
        return polygon_mask(value if isinstance(value[0], list) else [value], height, width) or None
    found = read_segmentation(value, height, width)
    if found.rle is not None and not found.drawn:
        rle.check_counts([found.rle["counts"]], height * width)
    return found.rle


def polygon_mask(polygons: Iterable[Sequence[float]], height: int, width: int) -> Polygons:
    """Check the polygons of an object in a frame of `height` x `width`; those of under three corners are dropped.

    Raises ValueError for coordinates that are no finite numbers or lie far outside of the frame. None left: ().
    """
    flat = [list(polygon) for polygon in polygons]
    read_segmentation(flat, height, width)
    return tuple(tuple(float(v) for v in polygon) for polygon in flat if len(polygon) >= 6)


def as_rle(mask: Mask, height: int, width: int) -> RLE:
    """The mask as a compressed RLE; polygons are filled as COCO's tools fill them."""
    if isinstance(mask, dict):
        return mask
    found = read_segmentation([list(polygon) for polygon in mask], height, width).rle
    return found if found is not None else rle.encode(np.zeros((height, width), np.bool_))


def as_array(mask: Mask, height: int, width: int) -> NDArray[np.bool_]:
    """The mask as pixels [height, width]."""
    return rle.decode([as_rle(mask, height, width)], height, width)[0].astype(np.bool_)


def united(masks: Sequence[Mask], height: int, width: int) -> Mask:
    """The union of the parts of one object in one frame; polygons stay polygons."""
    if len(masks) == 1:
        return masks[0]
    if any(isinstance(mask, dict) for mask in masks):
        merged: RLE = coco_mask.merge([as_rle(mask, height, width) for mask in masks])
        return merged
    return tuple(polygon for mask in masks for polygon in cast(Polygons, mask))


def placed(patch: NDArray[np.bool_], left: int, top: int, height: int, width: int) -> RLE | None:
    """A cropped mask [h, w] put into a frame of `height` x `width` at (left, top); None if no pixel is inside."""
    whole = np.zeros((height, width), np.bool_)
    rows = slice(max(top, 0), max(min(top + patch.shape[0], height), 0))
    columns = slice(max(left, 0), max(min(left + patch.shape[1], width), 0))
    whole[rows, columns] = patch[
        rows.start - top : max(rows.stop - top, 0), columns.start - left : max(columns.stop - left, 0)
    ]
    return rle.encode(whole) if whole.any() else None


def without_empty(masks: Mapping[int, RLE]) -> dict[int, Mask]:
    """The masks that have a pixel."""
    areas = rle.mask_areas(list(masks.values()))
    return {t: mask for (t, mask), area in zip(masks.items(), areas, strict=True) if area}


def checked_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of a frame in pixels. Raises ValueError if no frame of that size can be read."""
    if not (0 < height <= MOST_SIDE and 0 < width <= MOST_SIDE and height * width <= MAX_PIXELS):
        raise ValueError(f"frames of {height} x {width} pixels: at most {MAX_PIXELS:,}, {MOST_SIDE} a side")
    return height, width


def check_cells(cells: int) -> None:
    """Raise ValueError for more than MOST_CELLS tracks times frames."""
    if cells > MOST_CELLS:
        raise ValueError(f"{cells:,} places for masks (tracks times frames), at most {MOST_CELLS:,}: split the set")


def as_images(labels: LabelSet) -> LabelSet:
    """The set without identities: every frame becomes a clip of its own. Frames must be image files."""
    images = [
        LabelledClip(
            PurePosixPath(name).with_suffix("").as_posix(),
            clip.height,
            clip.width,
            ImageFiles((name,)),
            tuple(replace(track, masks={0: track.masks[t]}) for track in clip.tracks if t in track.masks),
        )
        for clip in labels.clips
        for t, name in enumerate(image_names(clip))
    ]
    return replace(labels, clips=tuple(images), tracked=False)


def image_names(clip: LabelledClip) -> list[str]:
    """A name for the image file of each frame: its own, or CLIP/00000.jpg by the frame's number in its video."""
    if isinstance(clip.frames, ImageFiles):
        return list(clip.frames.names)
    return [f"{clip.name}/{number:05d}.jpg" for number in clip.frames.numbers]


def count_of(left_out: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences for `LabelSet.left_out` from counts: {"boxes without a mask": 3} becomes "3 boxes without a mask"."""
    return tuple(f"{count} {what}" for what, count in left_out.items() if count)


def distinct(clips: Iterable[LabelledClip]) -> tuple[LabelledClip, ...]:
    """The clips with a name each: -2, -3, ... is appended to a name that was there before."""
    taken = dict[str, None]()
    found = []
    for clip in clips:
        name = next(n for k in itertools.count(1) if (n := clip.name if k == 1 else f"{clip.name}-{k}") not in taken)
        taken[name] = None
        found.append(replace(clip, name=name))
    return tuple(found)
