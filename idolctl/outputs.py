"""The files a run ends with, in its own folder: weights, results, submission, pictures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

from idol_core.data.catalog import resolve_source
from idol_core.files import write_aside, write_json
from idolctl.drawing import draw
from idolctl.job import Job
from idolctl.results_file import read_videos
from idolctl.state import WEIGHTS
from idolctl.submission import pack

_STAMP = "outputs.json"  # which stage the files in the run folder belong to


def make_outputs(job: Job) -> dict[str, Path]:
    """Bring the last stage's files to the run folder; what is there and belongs to that stage is left alone."""
    last = job.stages[-1]
    folder, run = job.stage_folder(last.chain), job.folder
    key = json.loads((folder / "stage.json").read_text(encoding="utf-8"))["key"]
    found = {name: run / file for name, file in _wanted(last.step).items()}
    if _stamp(run) == key and all(path.is_file() for path in found.values()):
        return found
    for old in (_STAMP, *_wanted(3).values()):
        (run / old).unlink(missing_ok=True)
    _share(folder / WEIGHTS, run / WEIGHTS)
    _share(folder / "results.json", run / "results.json")
    if last.step == 3:
        source = resolve_source(last.config.data.val, job.root)
        pack(found["results"], read_videos(Path(str(source.annotations))), found["submission"])
        print("drawing the tracks of some clips", file=sys.stderr)
        draw(found["results"], source, overlay=found["overlay"], contact=found["contact"])
    write_json(run / _STAMP, {"key": key})
    return found


def _wanted(step: int) -> dict[str, str]:
    files = {"weights": WEIGHTS, "results": "results.json"}
    tracks = {"submission": "submission.zip", "overlay": "overlay.mp4", "contact": "contact.png"}
    return files | tracks if step == 3 else files


def _stamp(run: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads((run / _STAMP).read_text(encoding="utf-8"))["key"])
    return None


def _share(source: Path, target: Path) -> None:
    """A hard link where the file system has them, else a copy."""
    with write_aside(target) as aside:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
