"""What a large annotation file costs: time to the first batch, cold and warm, and memory of the loader's workers.

    python benchmarks/annotations.py [--megabytes 400] [--workers 8]

The file is made up in OVIS's form and size: long videos, compressed run lengths. Memory is read from /proc (Linux):
"own" pages belong to one process alone, "shared" ones are counted in full for each process that maps them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, LENGTH, TRACKS = 1080, 1920, 100, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.workers)
        return
    with tempfile.TemporaryDirectory() as folder:
        size = write_set(Path(folder), arguments.megabytes)
        print(f"instances.json: {size / 2**20:.0f} MiB")
        environment = {**os.environ, "IDOLCTL_CACHE": str(Path(folder) / "cache")}
        for state in ("cold", "warm"):
            command = [sys.executable, __file__, "--measure", folder, "--workers", str(arguments.workers)]
            print(f"{state}: ", end="", flush=True)
            subprocess.run(command, check=True, env=environment)


def measure(folder: Path, workers: int) -> None:
    """Open the set in this fresh process, take batches and print times and memory."""
    from idol_core.config import DataSource, InputConfig, SolverConfig, StageConfig
    from idol_core.data.dataset import open_dataset
    from idol_core.data.loader import make_loader

    start = time.perf_counter()
    source = DataSource(kind="vis", frames=str(folder), annotations=str(folder / "instances.json"))
    dataset = open_dataset(source)
    opened = time.perf_counter() - start
    peak = status(os.getpid())["VmHWM"]
    solver = SolverConfig(iterations=100, batch_size=4, micro_batches=4)
    config = StageConfig("bench", "r50", 3, input=InputConfig(), solver=solver)
    batches = make_loader(config, dataset, workers=workers)
    next(batches)
    first = time.perf_counter() - start
    for _ in range(2 * workers):
        next(batches)
    print(f"opened in {opened:.2f} s (peak {peak / 2**20:.0f} MiB), first batch after {first:.2f} s")
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for pid in [os.getpid(), *map(int, children)]:
        memory = rollup(pid)
        kind = "main  " if pid == os.getpid() else "worker"
        own = memory["Private_Clean"] + memory["Private_Dirty"]
        print(f"  {kind} resident {memory['Rss'] / 2**20:6.0f} MiB, own {own / 2**20:6.0f} MiB")


def write_set(folder: Path, megabytes: int) -> int:
    """Videos until the annotation file has the wanted size; all share a hundred frames. Returns its bytes."""
    from idol_core.data.annotations import rle

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    names = [f"frames/{t:03d}.jpg" for t in range(LENGTH)]
    (folder / "frames").mkdir()
    for name in names:
        Image.fromarray(pixels).save(folder / name)
    shapes = []
    for _ in range(40):
        x, y, radius = rng.uniform(300, 1600), rng.uniform(200, 900), rng.uniform(100, 250)
        wobble = 12 * np.sin(rows / 7) + 9 * np.sin(columns / 5)
        shapes.append(json.dumps(rle.to_json(rle.encode(np.hypot(columns - x, rows - y) + wobble < radius))))
    path = folder / "instances.json"
    tracks: list[str] = []
    size = count = 0
    while size < megabytes * 2**20:
        video, number = count // TRACKS + 1, count + 1
        masks = ",".join("null" if rng.random() < 0.1 else shapes[k] for k in rng.integers(len(shapes), size=LENGTH))
        head = f'{{"id": {number}, "video_id": {video}, "category_id": {number % 25 + 1}, "iscrowd": 0'
        tracks.append(f'{head}, "segmentations": [{masks}]}}')
        size += len(tracks[-1])
        count += 1
    videos = [
        {"id": v + 1, "file_names": names, "height": HEIGHT, "width": WIDTH, "length": LENGTH}
        for v in range((count - 1) // TRACKS + 1)
    ]
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(25)]
    with path.open("w") as file:
        file.write(f'{{"videos": {json.dumps(videos)}, "categories": {json.dumps(categories)}, "annotations": [')
        file.write(",".join(tracks))
        file.write("]}")
    return path.stat().st_size


def rollup(pid: int) -> dict[str, int]:
    """Bytes by kind of memory of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Vm")}


if __name__ == "__main__":
    main()
