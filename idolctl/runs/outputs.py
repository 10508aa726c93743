"""Make the final files of a run: weights, results, submission, overlay, contact sheet."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from idol_core.config import DataSource
from idol_core.data.catalog import resolve_source
from idol_core.engine.stage_files import read_order
from idol_core.system.files import read_object, write_aside, write_json
from idolctl.runs.run import Run
from idolctl.runs.state import WEIGHTS, make_room
from idolctl.submission.pack import pack
from idolctl.submission.results import entries, read_videos

_STAMP = "outputs.json"  # which stage the files in the run folder belong to
PAGE = "report.html"
CLIPS = 6  # drawn in the overlay and the contact sheet
THRESHOLDS = (0.3, 0.1, 0.05)  # of tracks to draw: the first that any track reaches


def make_outputs(run: Run) -> dict[str, Path]:
    """Put the last stage's files into the run folder; keep those that already belong to that stage."""
    last = run.stages[-1]
    folder, top = run.stage_folder(last.chain), run.folder
    key = read_order(folder).key
    found = {name: top / file for name, file in _wanted(last.step).items()}
    if key and read_object(top / _STAMP).get("key") == key and all(path.is_file() for path in found.values()):
        return found
    make_room(top, files=(_STAMP, *_wanted(3).values()))
    for old in (_STAMP, *_wanted(3).values()):
        (top / old).unlink(missing_ok=True)
    _share(folder / WEIGHTS, top / WEIGHTS)
    _share(folder / "results.json", top / "results.json")
    if last.step == 3:
        source = resolve_source(last.config.data.val, run.root)
        pack(found["results"], read_videos(Path(str(source.annotations))), found["submission"])
        print("drawing the tracks of some clips", file=sys.stderr)
        draw(found["results"], source, overlay=found["overlay"], contact=found["contact"])
    write_json(top / _STAMP, {"key": key})
    return found


def page_is_current(run: Path) -> bool:
    """Whether the run's report page is newer than everything it reports on."""
    told = [*run.glob("*/state.json"), run / _STAMP, run / "environment.json"]
    try:
        made = (run / PAGE).stat().st_mtime
        return all(path.stat().st_mtime <= made for path in told if path.exists())
    except OSError:
        return False


def _wanted(step: int) -> dict[str, str]:
    files = {"weights": WEIGHTS, "results": "results.json"}
    tracks = {"submission": "submission.zip", "overlay": "overlay.mp4", "contact": "contact.png"}
    return files | tracks if step == 3 else files


def _share(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system has none."""
    with write_aside(target) as aside:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)


def draw(results: Path, source: DataSource, *, overlay: Path, contact: Path) -> None:
    """Write an mp4 and a PNG of `results` (a YouTube-VIS results file) over the frames of `source`."""
    from idol_core.data.dataset import open_dataset  # numpy, Pillow and PyAV take a second to import
    from idol_core.drawing.tracks import write_contact_sheet, write_overlay

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
