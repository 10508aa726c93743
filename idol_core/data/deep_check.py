"""Check a data set by opening every frame, in several processes; masks are checked when annotations are read."""

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
    """What a worker process needs to check one video."""

    id: int
    file_names: list[str]
    height: int
    width: int


class Broken(NamedTuple):
    """One problem and its location."""

    where: str
    what: str


def check_deeply(dataset: Dataset, *, on_progress: Callable[[int, int], None]) -> list[Broken]:
    """Find every broken frame, in the order of the data set. `on_progress(done, total)` counts videos (images)."""
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
    """Open all frames of a video and return what is broken."""
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
    """List missing frames (names relative to the frames folder); only lists folders, opens no frame."""
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
