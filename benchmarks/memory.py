"""Peak memory of streaming inference over videos of different lengths, above its level after warm-up.

    python benchmarks/memory.py                      # tiny model on the CPU: 30, 300 and 3000 frames of 360x640
    python benchmarks/memory.py --model r50 --device cuda

Each length runs in a process of its own. Frames are made on the fly, the same 300 over and over, so that nothing but
the length differs; whole-video tracks are collected, and what they hold as run lengths is printed apart. The C
library's allocator is told to return memory at once: left alone it keeps what it was given, and the peak creeps up by
its hoard for some thousand frames before it stays. Asserts nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from idol_core.system.cpu import configure_threads

WARM_UP = 30  # frames of another video before the level is taken; more than a batch
MIB = 2**20
PERIOD = 300  # frames after which they come again
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**17), "MALLOC_TRIM_THRESHOLD_": str(2**20)}  # bytes (glibc)


def drifting(frames: int, height: int, width: int) -> Iterator:
    """Frames [height, width, 3] of colored discs that move and come and go over noise that drifts."""
    import numpy as np

    rng = np.random.default_rng(0)
    scene = np.kron(
        rng.integers(0, 120, ((height + PERIOD) // 8 + 1, (width + PERIOD) // 8 + 1, 3)), np.ones((8, 8, 1))
    ).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    for t in (i % PERIOD for i in range(frames)):
        frame = scene[t : t + height, t : t + width].copy()
        for k in range(5):
            if (t // 40 + k) % 4:
                cy, cx = height * (0.5 + 0.4 * np.sin(0.02 * t + k)), width * (0.5 + 0.4 * np.cos(0.013 * t * (k + 1)))
                frame[(y - cy) ** 2 + (x - cx) ** 2 < (height / 9) ** 2] = (60 * k % 256, 250 - 40 * k, 90 + 30 * k)
        yield frame


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The highest resident memory between `start` and `stop`, looked at every few milliseconds."""

    def start(self) -> None:
        self.highest, self._going = resident(), True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._going:
            self.highest = max(self.highest, resident())
            time.sleep(0.004)

    def stop(self) -> int:
        self._going = False
        self._thread.join()
        return max(self.highest, resident())


def make_segmenter(kind: str, device: str):
    """Random weights; the tiny model sees objects everywhere, so that tracking has work."""
    import torch

    from benchmarks.train_step import tiny_model
    from idol_core.build import build_model
    from idol_core.config import InputConfig, ModelConfig, TrackerConfig
    from idol_core.inference.streaming import VideoSegmenter

    torch.manual_seed(0)
    config = tiny_model() if kind == "tiny" else ModelConfig()
    model = build_model(config)
    for head in model.decoder.class_heads:
        torch.nn.init.normal_(head.weight, std=0.2 if kind == "tiny" else 0.05)
        torch.nn.init.constant_(head.bias, -2.5)
    torch.nn.init.normal_(list(model.mask_head.controller.parameters())[-2], std=0.2)  # masks with something inside
    torch.nn.init.normal_(list(model.embed_head.parameters())[-2], std=2.0)  # embeddings that can be told apart
    side = InputConfig(test_short_side=96, test_max_size=192) if kind == "tiny" else InputConfig()
    names = [str(i) for i in range(config.num_classes)]
    return VideoSegmenter(model, tracker=TrackerConfig(), input=side, classes=names, device=device)


def measure(options: argparse.Namespace) -> None:
    """One length, in this process; prints a line of JSON."""
    import torch

    segmenter = make_segmenter(options.model, options.device)
    cuda = segmenter.device.type == "cuda"
    video = segmenter.start(keep=True)
    height, width = options.size
    batch = segmenter.tracker.batch_frames
    for _ in segmenter.stream(drifting(WARM_UP, height, width), batch=batch):
        pass
    gc.collect()
    level, device_level = resident(), 0
    if cuda:
        torch.cuda.synchronize()
        device_level = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    peak, tracked, start = Peak(), 0, time.perf_counter()
    peak.start()
    for seen in segmenter.stream(drifting(options.frames, height, width), video=video, batch=batch):
        tracked += len(seen.track_ids)
    seconds, tracks = time.perf_counter() - start, video.tracks().tracks
    highest = peak.stop()
    print(json.dumps({
        "frames": options.frames,
        "peak": highest - level,
        "level": level,
        "device_peak": torch.cuda.max_memory_allocated() - device_level if cuda else None,
        "rle": sum(len(counts) for track in tracks for counts in track.masks.values()),
        "masks": tracked,
        "tracks": len(tracks),
        "fps": options.frames / seconds,
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "r50"), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lengths", type=int, nargs="+", default=[30, 300, 3000])
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), help="height and width of the frames")
    parser.add_argument("--frames", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    configure_threads()
    if options.frames:
        measure(options)
        return
    print("frames   peak above level MiB   of it run lengths MiB   rest MiB   device MiB   masks  tracks   frames/s")
    rests = {}
    for length in options.lengths:
        command = [sys.executable, __file__, "--model", options.model, "--device", options.device, "--size",
                   *map(str, options.size), "--frames", str(length)]  # fmt: skip
        row = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=ALLOCATOR | os.environ).stdout
        )
        rests[length] = (row["peak"] - row["rle"]) / MIB
        device = f"{row['device_peak'] / MIB:10.1f}" if row["device_peak"] is not None else "         -"
        print(f"{length:6d} {row['peak'] / MIB:22.1f} {row['rle'] / MIB:23.2f} {rests[length]:10.1f}   {device} "
              f"{row['masks']:7d} {row['tracks']:7d} {row['fps']:10.1f}", flush=True)  # fmt: skip
    if len(rests) > 1:
        before, last = list(rests)[-2:]
        print(f"{last} frames take {rests[last] / rests[before]:.2f} times the memory of {before}, run lengths apart")


if __name__ == "__main__":
    main()
