"""Throughput of the data rooms on one core: JPEG decoding, and whole training pairs at the published sizes and of toy.

    OMP_NUM_THREADS=1 python benchmarks/data.py [--pairs 40] [--step-seconds 0.35]

720p and 1080p frames are made up (smooth noise, JPEG quality 90, six objects); sizes and crops are the published ones.
From the time of a pair follows how many loader processes a GPU needs: w of them bring a batch of b pairs every
b * seconds / w, so a step waits for less than 5 % of the time where w > .95 * b * seconds / step. The step is that of
--step-seconds (1 / it_per_s in metrics.jsonl of a run on the GPU in question); without it one that no GPU reaches, the
network's operations alone at 100 TFLOP/s (float32 with TF32 convolutions on an H100 stays below).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from idol_core.config import CropConfig, DataSource, InputConfig, SolverConfig, StageConfig
from idol_core.data.annotations import rle
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.frames import read_frame
from idol_core.data.loader import make_loader
from idol_core.data.toy.make import make_toy
from idol_core.data.toy.textures import smooth_noise

# Deformable DETR with ResNet-50 takes 173 G multiply-adds for a COCO image of about .95 megapixels (its table 1);
# the backward pass takes twice the forward one.
TRAINING_FLOP_PER_PIXEL = 3 * 2 * 173e9 / 0.95e6
FASTEST_FLOP_PER_SECOND = 100e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--step-seconds", type=float, help="of r50 on a GPU, for as many pairs as a GPU has")
    arguments = parser.parse_args()
    pairs = arguments.pairs
    torch.set_num_threads(1)
    published = InputConfig()
    with tempfile.TemporaryDirectory() as folder:
        for (height, width), per_gpu in (((720, 1280), 4), ((1080, 1920), 2)):  # of YouTube-VIS and OVIS
            dataset = made_up(Path(folder) / str(height), height, width)
            path = dataset.videos[0].file_names[0]
            for name, decode in decoders().items():
                report(f"decode {height}p, {name}", cpu_seconds(lambda d=decode, p=path: d(p), 20), "frames")
            seconds, pixels = pair_seconds(dataset, published, pairs, batch=4)
            report(f"pairs from {height}p, published sizes", seconds, "pairs")
            step = arguments.step_seconds or per_gpu * pixels * TRAINING_FLOP_PER_PIXEL / FASTEST_FLOP_PER_SECOND
            say_workers(per_gpu, seconds, step)
        make_toy(Path(folder))
        toy = open_dataset(resolve_source(DataSource("toy_train"), Path(folder)))
        small = InputConfig(short_sides=(80, 88, 96, 104, 112), max_size=160, crop=CropConfig(size=(64, 96)))
        seconds, _ = pair_seconds(toy, small, 50 * pairs, batch=8, warm=1000)
        report("pairs of toy (96x128), warm", seconds, "pairs")


def decoders() -> dict[str, Callable[[str], object]]:
    """Ours, PIL, and those of torchvision (deprecated since 0.29) and torchcodec where it is installed."""
    found: dict[str, Callable[[str], object]] = {
        "ours (simplejpeg)": read_frame,
        "PIL": lambda path: np.array(Image.open(path)),
    }
    with contextlib.suppress(ImportError):
        from torchvision.io import decode_jpeg, read_file

        found["torchvision"] = lambda path: decode_jpeg(read_file(path))
    with contextlib.suppress(ImportError, RuntimeError):
        from torchcodec.decoders import decode_image

        found["torchcodec"] = decode_image
    return found


def made_up(folder: Path, height: int, width: int) -> Dataset:
    """Two videos of 60 frames (12 files, five times over: too many to be kept in memory) with six discs each."""
    rng = np.random.default_rng(0)
    videos, annotations = [], []
    rows, columns = np.mgrid[:height, :width]
    for number in (1, 2):
        names = [f"v{number}/{t % 12}.jpg" for t in range(60)]
        base = [smooth_noise(rng, height, width, cell=200, octaves=7, gain=0.7) for _ in range(3)]
        for t, name in enumerate(names[:12]):
            pixels = np.clip(128 + 50 * np.stack([np.roll(b, 5 * t, 1) for b in base], -1), 0, 255).astype(np.uint8)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name, quality=90)
        videos.append({"id": number, "file_names": names, "height": height, "width": width, "length": 60})
        for k in range(6):
            shapes = []
            for t in range(12):
                x, y = width * (0.1 + 0.15 * k) + 6 * t, height * (0.3 + 0.08 * k)
                mask = (columns - x) ** 2 + (rows - y) ** 2 < (height / 6) ** 2
                shapes.append(rle.to_json(rle.encode(mask)))
            annotations.append(
                {"id": 6 * number + k, "video_id": number, "category_id": 1, "segmentations": shapes * 5}
            )
    document = {"videos": videos, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
    (folder / "instances.json").write_text(json.dumps(document))
    return open_dataset(DataSource(kind="vis", frames=str(folder), annotations=str(folder / "instances.json")))


def pair_seconds(
    dataset: Dataset, config: InputConfig, pairs: int, *, batch: int, warm: int = 0
) -> tuple[float, float]:
    """CPU seconds for a pair of step 3, in this process, and its pixels with padding (both frames)."""
    solver = SolverConfig(iterations=-(-(pairs + warm) // batch), batch_size=batch, normalize="global")
    batches = make_loader(StageConfig("bench", "r50", 3, input=config, solver=solver), dataset, workers=0)
    for _ in range(warm // batch):
        next(batches)
    start, count, pixels = time.process_time(), 0, 0
    for (made,) in batches:
        count += len(made.sample_ids)
        pixels += made.frames.padding.numel()
    return (time.process_time() - start) / count, pixels / count


def say_workers(pairs: int, seconds: float, step: float) -> None:
    busy = 0.95 * pairs * seconds  # of one process, for a batch that may come 5 % late
    needed = math.ceil(busy / step)
    print(f"  {pairs} pairs a GPU, steps of {step:.3f} s: {needed} loader processes keep the data wait below 5 %;")
    print(f"  8 loader processes do so for steps of {busy / 8:.3f} s and more")


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    work()
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def report(what: str, seconds: float, unit: str) -> None:
    print(f"{what:40s} {1000 * seconds:8.2f} ms {1 / seconds:8.1f} {unit}/s")


if __name__ == "__main__":
    main()
