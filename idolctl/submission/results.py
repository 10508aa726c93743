"""Read YouTube-VIS results as a stream and check each entry against the videos of an annotation file.

A results file is a list of {video_id, category_id, score, segmentations}, where segmentations has one compressed RLE or
null for every frame of the video. Memory does not grow with the masks: about 100 bytes per entry are kept.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from idol_core.data.annotations.fields import integer, other_class, score, shown
from idol_core.data.annotations.json_stream import json_list, open_json
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.annotations.rle import check_counts
from idol_core.data.dataset import open_annotations
from idol_core.errors import Integrity
from idolctl.errors import Mistakes

SHOWN = 10  # most faults that are listed one by one
_COUNTS = re.compile(r"[0-o]*[0-O]")  # COCO's 6-bit characters; the last one of a number has no continuation bit


class Video(NamedTuple):
    """Size of a video, which results must match: `length` in frames, `height` and `width` in pixels."""

    length: int
    height: int
    width: int


@dataclass(frozen=True)
class Videos:
    """The videos (by id) and class names (by category id) that an annotation file defines, without its annotations."""

    videos: dict[int, Video]
    categories: dict[int, str]


@dataclass
class Scan:
    """The entries of a checked results file, by index: score, video id and approximate size as JSON in bytes."""

    scores: array[float] = field(default_factory=lambda: array("d"))
    videos: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.scores)


class Fault(NamedTuple):
    """An error in one entry: its index, its video_id and what is wrong."""

    entry: int
    video: Any
    what: str


def read_videos(path: Path) -> Videos:
    """Read the videos and categories of a YTVIS annotation file. Raises Missing or Integrity."""
    if annotation_kind(path) != "vis":
        raise Integrity("not a YTVIS annotation file: it has images, no videos", where=str(path), fix=_OWN_FILE)
    index = open_annotations(path, "vis")
    lengths = np.diff(index.first_frame).tolist()
    videos = {
        number: Video(length, *size)
        for number, length, size in zip(index.video_ids.tolist(), lengths, index.video_sizes.tolist(), strict=True)
    }
    if not videos:
        raise Integrity("the annotation file defines no videos", where=str(path), fix=_OWN_FILE)
    return Videos(videos, dict(zip(index.category_ids.tolist(), index.category_names, strict=True)))


def entries(file: IO[bytes], name: str, *, on_read: Callable[[int], None] | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (index, entry) of a results list. Raises Integrity, with line and column, if it is no JSON list."""
    return enumerate(json_list(file, name, on_read=on_read))


def scan(path: Path, known: Videos, *, on_read: Callable[[int], None] = lambda _: None) -> Scan:
    """Check every entry; `on_read` is called with the number of bytes read so far.

    Raises Missing, Integrity (not JSON) or Mistakes (exit 4) with the first ten faults.
    """
    found, seen, faults, number = Scan(), set[bytes](), list[Fault](), 0
    with open_json(path) as file:
        for index, entry in entries(file, str(path), on_read=on_read):
            what = _fault(entry, known) or _repeated(entry, seen)
            if what is not None:
                number += 1
                video = shown(entry.get("video_id")) if isinstance(entry, dict) else "-"
                faults += [Fault(index, video, what)] if len(faults) < SHOWN else []
                continue
            found.scores.append(float(entry["score"]))
            found.videos.append(integer(entry, "video_id"))
            found.sizes.append(sum(len(s["counts"]) + 32 if s else 5 for s in entry["segmentations"]) + 80)
    if faults:
        raise Mistakes(_told(faults, number, path))
    return found


def _fault(entry: Any, known: Videos) -> str | None:
    if not isinstance(entry, dict):
        return "not a JSON object"
    lacking = [k for k in ("video_id", "category_id", "score", "segmentations") if k not in entry]
    if lacking:
        return f"lacks {', '.join(lacking)}"
    try:
        number, category = integer(entry, "video_id"), integer(entry, "category_id")
        score(entry)
    except ValueError as error:
        return str(error)
    video = known.videos.get(number)
    if video is None:
        return f"video_id {number} is not in the data set"
    if category not in known.categories:
        return f"category_id {category} is not in the data set"
    if (wrong := other_class(entry, category, known.categories)) is not None:
        return wrong
    return _mask_fault(entry["segmentations"], video)


def _mask_fault(masks: Any, video: Video) -> str | None:
    if not isinstance(masks, list) or len(masks) != video.length:
        number = len(masks) if isinstance(masks, list) else "no list of"
        return f"{number} segmentations for {video.length} frames"
    for frame, mask in enumerate(masks):
        if mask is None:
            continue
        counts = mask.get("counts") if isinstance(mask, dict) else None
        if not isinstance(counts, str) or not _COUNTS.fullmatch(counts):
            return f"frame {frame}: not a compressed RLE"
        if mask.get("size") != [video.height, video.width]:
            return f"frame {frame}: RLE of size {mask.get('size')} in a video of {[video.height, video.width]}"
    return _counts_fault(masks, video.height * video.width)


def _counts_fault(masks: list[Any], pixels: int) -> str | None:
    """Check that run lengths fill their frames; servers may hang or fail if they don't."""
    try:
        check_counts([mask["counts"].encode() for mask in masks if mask], pixels)
    except ValueError as error:
        for frame, mask in enumerate(masks):
            try:
                check_counts([mask["counts"].encode()] if mask else [], pixels)
            except ValueError as own:
                return f"frame {frame}: {own}"
        return str(error)
    return None


def _repeated(entry: dict[str, Any], seen: set[bytes]) -> str | None:
    about = f"{integer(entry, 'video_id')} {integer(entry, 'category_id')}"
    digest = hashlib.blake2b(about.encode(), digest_size=12)
    for mask in entry["segmentations"]:
        digest.update(mask["counts"].encode() + b"," if mask else b"-")
    if digest.digest() in seen:
        return "repeats an earlier entry's video, category and masks"
    seen.add(digest.digest())
    return None


def _told(faults: list[Fault], number: int, path: Path) -> list[Integrity]:
    more = number - len(faults)
    told = [Integrity(f.what, where=f"{path}: entry {f.entry}, video {f.video}", fix=_REWRITE) for f in faults]
    if more:
        told.append(Integrity(f"{more} more entries are faulty", where=str(path), fix=_REWRITE))
    return told


_OWN_FILE = "give the data set's own file with --annotations FILE"
_REWRITE = "write the results again, for instance by running step 3's evaluation"
