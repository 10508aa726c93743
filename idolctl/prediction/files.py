"""Write the tracks of a clip to a results file and to one CSV table per track."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from idol_core.system.files import write_aside
from idol_core.tracking.tracks import ReportedTrack, VideoTracks

Frame = NDArray[np.uint8]


class ResultsFile:
    """A YouTube-VIS results file being written, one track at a time.

    Besides the fields of the format, an entry has `track` (the id) and `category` (the class name).
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._separator = file, "[\n"

    def add(
        self, found: Iterable[ReportedTrack], tracks: VideoTracks, *, video_id: int, category_ids: Sequence[int]
    ) -> None:
        """Write the tracks of a video; `category_ids` maps class index to the data set's category id."""
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
    """Open a results file for writing; it appears only once all is written."""
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8") as file:
        results = ResultsFile(file)
        yield results
        results.finish()


def write_tables(folder: Path, found: Iterable[ReportedTrack], tracks: VideoTracks, *, times: Sequence[float]) -> int:
    """Write `track-ID-CLASS.csv` for every track and remove those of an earlier run; return the number of tracks.

    A row is a frame in which the track is present: its index from 0, its time, the track's class and score, the tight
    box of the mask (x0, y0, x1, y1 in pixels, half-open) and the mask's area in pixels.

    Args:
        times: of every frame of the clip, seconds since the first.
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
                table.writerow((frame, f"{times[frame]:.3f}", one.name, f"{one.score:.4f}", *box, area))
        written.add(path)
    for old in set(folder.glob("track-*.csv")) - written:
        old.unlink()
    return len(written)
