"""The whole path of a video: resize, network, selection, tracking, masks; random frames, random weights."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from idol_core.classes import numbered
from idol_core.config import InputConfig, ModelConfig, Precision, TrackerConfig
from idol_core.data.collate import collate_frames
from idol_core.data.transforms import resize_for_test
from idol_core.inference.streaming import VideoSegmenter
from idol_core.model.idol import IDOL
from idol_core.ops.precision import arithmetic
from idolctl.bench import clock
from idolctl.bench.machine import Machine
from idolctl.bench.row import Row

DETECTIONS = 10  # queries of a frame that are tracked
FRAMES = 8  # that are shown over and over


def inference_row(
    machine: Machine, name: str, model: IDOL, size: tuple[int, int], batch: int, precision: Precision, budget: float,
    *, cuda_graphs: bool = False, note: str = "",
) -> Row:  # fmt: skip
    """Frames a second of a stream in which the next batch is computed while frames are tracked."""
    frames = _frames(size)
    short, long = sorted(size)
    with clock.peak_memory(machine.device) as peak:
        segmenter = VideoSegmenter(
            model,
            tracker=TrackerConfig(init_threshold=0.0, new_threshold=0.0),
            input=InputConfig(test_short_side=short, test_max_size=long),
            classes=numbered(ModelConfig().num_classes),
            device=machine.device,
            precision=precision,
            cuda_graphs=cuda_graphs,
        )
        threshold, flops = _look(segmenter, frames[0])
        segmenter.tracker = dataclasses.replace(segmenter.tracker, select_threshold=threshold)
        rate = _frames_a_second(segmenter, frames, batch, budget)
        graphs = ", CUDA graphs" if cuda_graphs else ""
        return Row(
            "inference", f"{name}, {size[0]}x{size[1]}, batch {batch}, {precision}{graphs}", rate, "fps", peak(),
            rate * flops / machine.rates[precision], note,
        )  # fmt: skip


def _frames_a_second(segmenter: VideoSegmenter, frames: list[np.ndarray], batch: int, budget: float) -> float:
    """Count frames from the fourth batch on (from the second on a CPU), in whole batches."""
    skipped = batch * (4 if segmenter.device.type == "cuda" else 1)
    tracked = segmenter.stream(_endless(frames), batch=batch, overlap=True)
    try:
        for _ in itertools.islice(tracked, skipped):
            pass
        began, done = time.perf_counter(), 0
        while not done or time.perf_counter() - began < budget:
            done += sum(1 for _ in itertools.islice(tracked, batch))
        return done / (time.perf_counter() - began)
    finally:
        tracked.close()


@torch.inference_mode()
def _look(segmenter: VideoSegmenter, frame: np.ndarray) -> tuple[float, int]:
    """The score that DETECTIONS queries of a frame are above, and floating point operations of a frame's products."""
    batch = collate_frames([resize_for_test(frame, segmenter.input)], config=segmenter.input).to(segmenter.device)
    assert isinstance(segmenter.model, IDOL)  # made from a configuration, not exported
    with arithmetic(segmenter.device, segmenter.precision), FlopCounterMode(display=False) as counted:
        decoded = segmenter.model(batch)
    best = decoded.logits[-1, 0].float().sigmoid().amax(-1)
    return float(best.topk(DETECTIONS + 1).values[-1]), counted.get_total_flops()


def _frames(size: tuple[int, int]) -> list[np.ndarray]:
    """Blocks of random colours that move by two pixels a frame."""
    height, width = size
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    return [np.ascontiguousarray(scene[t : t + height, 2 * t : 2 * t + width]) for t in range(FRAMES)]


def _endless(frames: list[np.ndarray]) -> Iterator[np.ndarray]:
    return itertools.cycle(frames)
