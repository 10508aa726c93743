"""Results in the YouTube-VIS format, read as a stream and checked entry by entry against the videos they are about.

A results file is a list of {video_id, category_id, score, segmentations}, the last with one compressed RLE or null for
every frame of the video. Memory does not grow with the masks: some 100 bytes an entry are kept.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import ijson

from idol_core.data.annotations.rle import check_counts
from idol_core.errors import Integrity, Missing
from idolctl.errors import Mistakes

SHOWN = 10  # faults that are told one by one
_COUNTS = re.compile(r"[0-o]*[0-O]")  # COCO's 6-bit characters; the last one of a number has no continuation bit


class Video(NamedTuple):
    """What results must fit."""

    length: int
    height: int
    width: int


@dataclass(frozen=True)
class Videos:
    """The videos and categories that an annotation file defines; its annotations are not needed."""

    videos: dict[int, Video]
    categories: frozenset[int]


@dataclass
class Scan:
    """The entries of a checked results file, by index: score, video and size as JSON."""

    scores: array[float] = field(default_factory=lambda: array("d"))
    videos: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.scores)


class Fault(NamedTuple):
    """What is wrong with one entry."""

    entry: int
    video: Any
    what: str


def read_videos(path: Path) -> Videos:
    """Videos and categories of a YTVIS annotation file. Raises Missing or Integrity."""
    videos: dict[int, Video] = {}
    try:
        with open(path, "rb") as file:
            for entry in ijson.items(file, "videos.item", use_float=True):
                length = len(entry["file_names"]) if "file_names" in entry else entry["length"]
                videos[int(entry["id"])] = Video(int(length), int(entry["height"]), int(entry["width"]))
        with open(path, "rb") as file:
            categories = frozenset(int(entry["id"]) for entry in ijson.items(file, "categories.item", use_float=True))
    except FileNotFoundError as error:
        raise Missing("no annotation file", where=str(path), fix="give it with --annotations FILE") from error
    except (ijson.JSONError, KeyError, TypeError, ValueError) as error:
        what = f"not a YTVIS annotation file: {_first_line(error)}"
        raise Integrity(what, where=str(path), fix="give the data set's own file with --annotations FILE") from error
    if not videos or not categories:
        raise Integrity("the annotation file defines no videos or no categories", where=str(path),
                        fix="give the data set's own file with --annotations FILE")  # fmt: skip
    return Videos(videos, categories)


def entries(file: IO[bytes], name: str) -> Iterator[tuple[int, Any]]:
    """(index, entry) of a results list. Raises Integrity, with the index, where it is not JSON or not a list."""
    index = -1
    try:
        start = file.read(256).lstrip()
        file.seek(0)
        if not start.startswith(b"["):
            raise Integrity("results must be a JSON list", where=name, fix=_REWRITE)
        for index, entry in enumerate(ijson.items(file, "item", use_float=True)):
            yield index, entry
    except ijson.JSONError as error:
        text = str(error)
        nan = " (a score that is not a number?)" if re.search(r"NaN|Infinity|overflow", text) else ""
        what = f"entry {index + 1} is not JSON{nan}: {_first_line(error)}"
        raise Integrity(what, where=f"{name}: entry {index + 1}", fix=_REWRITE) from error


def scan(path: Path, known: Videos, *, on_read: Callable[[int], None] = lambda _: None) -> Scan:
    """Check every entry; `on_read` hears how many bytes have been read.

    Raises Missing, Integrity (not JSON) or Mistakes (exit 4) with the first ten faults.
    """
    found, seen, faults, number = Scan(), set[bytes](), list[Fault](), 0
    try:
        with open(path, "rb") as file:
            for index, entry in entries(file, path.name):
                on_read(file.tell())
                what = _fault(entry, known) or _repeated(entry, seen)
                if what is not None:
                    number += 1
                    video = entry.get("video_id") if isinstance(entry, dict) else None
                    faults += [Fault(index, video, what)] if len(faults) < SHOWN else []
                    continue
                found.scores.append(float(entry["score"]))
                found.videos.append(entry["video_id"])
                found.sizes.append(sum(len(s["counts"]) + 32 if s else 5 for s in entry["segmentations"]) + 80)
    except FileNotFoundError as error:
        raise Missing("no results file", where=str(path), fix="give it with --results FILE") from error
    if faults:
        raise Mistakes(_told(faults, number, path))
    return found


def _fault(entry: Any, known: Videos) -> str | None:
    if not isinstance(entry, dict):
        return "no object"
    lacking = [k for k in ("video_id", "category_id", "score", "segmentations") if k not in entry]
    if lacking:
        return f"lacks {', '.join(lacking)}"
    for key in ("video_id", "category_id"):
        if not isinstance(entry[key], int) or isinstance(entry[key], bool):
            return f"{key} {entry[key]!r} is no integer"
    video = known.videos.get(entry["video_id"])
    if video is None:
        return f"video_id {entry['video_id']} is not in the data set"
    if entry["category_id"] not in known.categories:
        return f"category_id {entry['category_id']} is not in the data set"
    score = entry["score"]
    if not isinstance(score, (int, float)) or isinstance(score, bool) or not math.isfinite(score):
        return f"score {score!r} is no finite number"
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
            return f"frame {frame}: no compressed RLE"
        if mask.get("size") != [video.height, video.width]:
            return f"frame {frame}: RLE of size {mask.get('size')} in a video of {[video.height, video.width]}"
    return _counts_fault(masks, video.height * video.width)


def _counts_fault(masks: list[Any], pixels: int) -> str | None:
    """Servers may hang or stop at run lengths that don't fill their frame."""
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
    digest = hashlib.blake2b(f"{entry['video_id']} {entry['category_id']}".encode(), digest_size=12)
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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


_REWRITE = "write the results again, for instance by running step 3's evaluation"
