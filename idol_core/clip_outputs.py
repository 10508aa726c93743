"""What was found in a clip, as files: results, a table per track, a video and a sheet with the tracks drawn."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from idol_core.config import TrackerConfig
from idol_core.files import write_aside
from idol_core.overlay import Drawn, draw_objects
from idol_core.showcase import SHEET_TILES, SMALL, sheet_row, tile
from idol_core.tracking.masks import decode_masks
from idol_core.tracking.video import VideoTrack, VideoTracks

Frame = NDArray[np.uint8]


class Found(NamedTuple):
    """A track as it is reported: with one class, the best over its frames."""

    track: VideoTrack
    label: int  # class index
    name: str
    score: float


def report_tracks(
    tracks: VideoTracks, config: TrackerConfig, *, classes: Sequence[str], threshold: float
) -> list[Found]:
    """The tracks of at least this score, by falling score."""
    single = dataclasses.replace(config, multi_class=False)
    found = [Found(track, label, classes[label], score) for track, label, score in tracks.scored(single)]
    return sorted((f for f in found if f.score >= threshold), key=lambda f: -f.score)


class ResultsFile:
    """A YouTube-VIS results file being written, one track at a time.

    Beside the format's own fields an entry has `track` (the id) and `category` (the class's name).
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._separator = file, "[\n"

    def add(self, found: Iterable[Found], tracks: VideoTracks, *, video_id: int, category_ids: Sequence[int]) -> None:
        """Write the tracks of a video; `category_ids` has the data set's id of each class index."""
        for one in found:
            entry = {
                "video_id": video_id,
                "category_id": category_ids[one.label],
                "category": one.name,
                "track": one.track.id,
                "score": one.score,
                "segmentations": tracks.segmentations(one.track),
            }
            self._file.write(self._separator + json.dumps(entry, allow_nan=False))
            self._separator = ",\n"

    def finish(self) -> None:
        self._file.write(("[" if self._separator == "[\n" else "\n") + "]\n")


@contextmanager
def results_file(path: Path) -> Iterator[ResultsFile]:
    """A results file that appears when all is written, or not at all."""
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8") as file:
        results = ResultsFile(file)
        yield results
        results.finish()


def write_tables(folder: Path, found: Iterable[Found], tracks: VideoTracks, *, rate: float) -> int:
    """Write `track-ID-CLASS.csv` for every track, and remove those of an earlier time; returns how many there are.

    A row is a frame in which the track is present: its index from 0, its time, the track's class and score, the tight
    box of the mask (x0, y0, x1, y1 in pixels, half-open) and the mask's area in pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for one in found:
        path = folder / f"track-{one.track.id}-{re.sub(r'[^A-Za-z0-9_]+', '-', one.name)}.csv"
        with write_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("frame", "seconds", "class", "score", "x0", "y0", "x1", "y1", "area"))
            for frame, counts in sorted(one.track.masks.items()):
                rle = {"size": list(tracks.size), "counts": counts}
                x, y, width, height = (int(v) for v in coco_mask.toBbox(rle))
                box = (x, y, x + width, y + height)
                area = int(coco_mask.area(rle))
                table.writerow((frame, f"{frame / rate:.3f}", one.name, f"{one.score:.4f}", *box, area))
        written.add(path)
    for old in set(folder.glob("track-*.csv")) - written:
        old.unlink()
    return len(written)


def draw_clip(frames: Iterable[Frame], found: Sequence[Found], size: tuple[int, int]) -> Iterator[Frame]:
    """Frames [H, W, 3] of `size` with the tracks drawn, the best on top; small ones are enlarged to read the labels."""
    scale = max(1, round(SMALL / size[0]))
    for t, frame in enumerate(frames):
        present = [one for one in reversed(found) if t in one.track.masks]
        masks = decode_masks([one.track.masks[t] for one in present], size)
        objects = [
            Drawn(one.track.id, f"{one.name} {one.track.id}", mask)
            for one, mask in zip(present, masks, strict=True)
            if mask.any()
        ]
        yield draw_objects(frame, objects, scale=scale)


class Sheet:
    """Keeps a few of the frames that pass through, spread evenly over a clip of `length`, for a contact sheet."""

    def __init__(self, length: int) -> None:
        self._wanted = {round(t) for t in np.linspace(0, length - 1, SHEET_TILES)}
        self._kept: list[Frame] = []

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames."""
        for t, frame in enumerate(frames):
            if t in self._wanted:
                self._kept.append(tile(frame))
            yield frame

    def write(self, path: Path) -> None:
        """Write what was kept as a PNG of one row."""
        with write_aside(path) as aside:
            Image.fromarray(sheet_row(self._kept)).save(aside, format="PNG")
