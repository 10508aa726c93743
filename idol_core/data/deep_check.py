"""Every frame opened, video by video in several processes; masks were checked when the annotations were read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from idol_core.data.dataset import Dataset
from idol_core.data.frames import read_frame
from idol_core.errors import IdolError
from idol_core.system.cpu import usable_cores


class VideoTask(NamedTuple):
    """What one process needs of a video."""

    id: int
    file_names: list[str]
    height: int
    width: int


class Broken(NamedTuple):
    """One thing that is wrong, and where."""

    where: str
    what: str


def check_deeply(dataset: Dataset, *, on_progress: Callable[[int, int], None]) -> list[Broken]:
    """All that is broken in a data set, in its order. `on_progress(done, total)` counts videos (images)."""
    broken: list[Broken] = []
    total = len(dataset.videos)
    on_progress(0, total)
    with ProcessPoolExecutor(max_workers=max(1, usable_cores())) as pool:
        found = pool.map(check_video, _tasks(dataset), chunksize=1 if dataset.kind == "vis" else 32)
        for done, faults in enumerate(found, start=1):
            broken += faults
            on_progress(done, total)
    return broken


def check_video(task: VideoTask) -> list[Broken]:
    """Open the frames of a video."""
    broken = []
    for name in task.file_names:
        found: list[str] = []
        try:
            height, width = read_frame(name, on_damage=found.append).shape[:2]
        except IdolError as error:
            broken.append(Broken(name, error.what))
            continue
        broken += [Broken(name, what) for what in found]
        if (height, width) != (task.height, task.width):
            broken.append(Broken(name, f"is {height} x {width}, its annotation says {task.height} x {task.width}"))
    return broken


def missing_frames(dataset: Dataset) -> list[str]:
    """Names (relative to the frames folder) of frames that are not there; folders are listed, nothing is opened."""
    listed: dict[Path, set[str]] = {}
    missing = []
    for frame in range(int(dataset.index.first_frame[-1])):
        name = dataset.index.name(frame)
        path = dataset.frames / name
        if path.parent not in listed:
            listed[path.parent] = {p.name for p in path.parent.iterdir()} if path.parent.is_dir() else set()
        if path.name not in listed[path.parent]:
            missing.append(name)
    return missing


def _tasks(dataset: Dataset) -> Iterator[VideoTask]:
    for video in dataset.videos:
        yield VideoTask(video.id, video.file_names, video.height, video.width)
