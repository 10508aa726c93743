"""Draw tracks on the frames of clips: as a video, as a contact sheet, or frame by frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from idol_core.data.annotations import rle
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.data.dataset import Dataset, Video
from idol_core.data.frames import read_frame
from idol_core.drawing.frame import Drawn, Frame, draw_objects, write_caption
from idol_core.drawing.sheet import SHEET_TILES, sheet_row
from idol_core.system.files import write_aside
from idol_core.tracking.masks import decode_masks
from idol_core.tracking.tracks import ReportedTrack
from idol_core.video.writer import write_video

_SMALL = 300  # frames of a lower height are enlarged to about this many pixels, so that labels can be read
_WIDE = 4096  # but not to more than this many pixels a side


def enlargement(height: int, width: int) -> int:
    """The factor, 1 or more, by which a frame of this size is enlarged before labels are drawn."""
    return max(1, min(round(_SMALL / height), _WIDE // max(height, width)))


def write_overlay(
    path: Path,
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    *,
    videos: Sequence[int],
    threshold: float,
    rate: float = 6.0,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Write clips (rows of dataset.videos) one after another as an mp4, with the results' tracks drawn on them.

    Args:
        results: entries of a YouTube-VIS results file; those below `threshold` are left out, and of the entries that
            share a track's masks the best class is shown.
        on_frame: called after every frame.
    """
    by_video = _by_video(results, threshold)

    def frames() -> Iterator[Frame]:
        shown = [dataset.videos[row] for row in videos]
        size = _largest(shown)
        for video in shown:
            for frame in draw_results(video, by_video[video.id], dataset):
                yield _centred(frame, size)
                on_frame()

    write_video(path, frames(), rate=rate)


def write_contact_sheet(
    path: Path,
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    *,
    videos: Sequence[int],
    threshold: float,
) -> None:
    """Write a PNG with a row for each clip (a row of dataset.videos), frames spread evenly over its length."""
    by_video = _by_video(results, threshold)
    rows = []
    for row in videos:
        video = dataset.videos[row]
        chosen = sorted({round(t) for t in np.linspace(0, video.length - 1, SHEET_TILES)})
        rows.append(sheet_row(draw_results(video, by_video[video.id], dataset, only=chosen)))
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
    with write_aside(path) as aside:
        Image.fromarray(sheet).save(aside, format="PNG")


def draw_results(
    video: Video, tracks: Sequence[dict[str, Any]], dataset: Dataset, *, only: Iterable[int] | None = None
) -> Iterator[Frame]:
    """Draw the entries of a results file, best first, on the frames of their clip: on those in `only`, or on all."""
    names = dict(zip(dataset.category_ids, dataset.category_names, strict=True))
    scale = enlargement(video.height, video.width)
    for t in range(video.length) if only is None else only:
        objects = []
        for number, entry in enumerate(tracks):
            segmentation = read_segmentation(entry["segmentations"][t], video.height, video.width).rle
            (mask,) = rle.decode([segmentation], video.height, video.width)
            if mask.any():
                objects.append(Drawn(number, f"{names[entry['category_id']]} {number}", mask.astype(np.bool_)))
        picture = draw_objects(read_frame(video.file_names[t]), objects[::-1], scale=scale)
        yield write_caption(picture, f"video {video.id}, frame {t + 1} of {video.length}")


def draw_tracks(frames: Iterable[Frame], found: Sequence[ReportedTrack], size: tuple[int, int]) -> Iterator[Frame]:
    """Draw tracks on frames [H, W, 3] of `size`, the best on top; small frames are enlarged to make labels readable."""
    scale = enlargement(*size)
    for t, frame in enumerate(frames):
        present = [one for one in reversed(found) if t in one.track.masks]
        masks = decode_masks([one.track.masks[t] for one in present], size)
        objects = [
            Drawn(one.track.id, f"{one.name} {one.track.id}", mask)
            for one, mask in zip(present, masks, strict=True)
            if mask.any()
        ]
        yield draw_objects(frame, objects, scale=scale)


def _by_video(results: Sequence[dict[str, Any]], threshold: float) -> dict[int, list[dict[str, Any]]]:
    """Group the entries to draw by video id, best first; one for each set of masks."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    seen: set[tuple[Any, ...]] = set()
    for entry in sorted(results, key=lambda entry: -entry["score"]):
        masks = (entry["video_id"], *(s and str(s["counts"]) for s in entry["segmentations"]))
        if entry["score"] >= threshold and masks not in seen:
            seen.add(masks)
            found[entry["video_id"]].append(entry)
    return found


def _largest(videos: Sequence[Video]) -> tuple[int, int]:
    """The largest height and width of the drawn frames."""
    scales = [enlargement(video.height, video.width) for video in videos]
    pairs = list(zip(videos, scales, strict=True))
    return max(v.height * s for v, s in pairs), max(v.width * s for v, s in pairs)


def _centred(frame: Frame, size: tuple[int, int]) -> Frame:
    """Center the frame on a black background of `size`."""
    down, right = size[0] - frame.shape[0], size[1] - frame.shape[1]
    return np.pad(frame, ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0)))
