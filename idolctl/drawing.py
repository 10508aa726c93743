"""Pictures of a run's tracks: clips spread evenly over its validation set, as a video and as one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from idol_core.config import DataSource
from idolctl.results_file import entries

CLIPS = 6
THRESHOLDS = (0.3, 0.1, 0.05)  # a track is shown above the first that leaves something to see


def draw(results: Path, source: DataSource, *, overlay: Path, contact: Path) -> None:
    """Write an mp4 and a PNG of `results` (a YouTube-VIS results file) over the frames of `source`."""
    from idol_core.data.dataset import open_dataset  # numpy, Pillow and PyAV take a second to import
    from idol_core.showcase import write_contact_sheet, write_overlay

    dataset = open_dataset(source)
    count = min(CLIPS, len(dataset.videos))
    rows = [round(i * (len(dataset.videos) - 1) / max(1, count - 1)) for i in range(count)]
    shown = _of_videos(results, {dataset.videos[row].id for row in rows})
    best = max((entry["score"] for entry in shown), default=0.0)
    threshold = next((t for t in THRESHOLDS if best >= t), THRESHOLDS[-1])
    write_overlay(overlay, dataset, shown, videos=rows, threshold=threshold)
    write_contact_sheet(contact, dataset, shown, videos=rows, threshold=threshold)


def _of_videos(results: Path, ids: set[Any]) -> list[dict[str, Any]]:
    with open(results, "rb") as file:
        found = (entry for _, entry in entries(file, results.name) if entry["video_id"] in ids)
        return [entry for entry in found if entry["score"] >= THRESHOLDS[-1]]
