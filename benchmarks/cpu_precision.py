"""float32 against bf16 on the CPU: R50, a frame of 480x853 from pixels to detections, in turns.

    python benchmarks/cpu_precision.py --threads 2 8

Random weights, of which few queries pass the score threshold. Asserts nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from idol_core.build import build_model
from idol_core.config import InputConfig, ModelConfig, TrackerConfig
from idol_core.data.collate import collate_frames
from idol_core.export.proof import made_frame
from idol_core.inference.prepare import evaluation_copy
from idol_core.inference.select import select_detections
from idol_core.ops.precision import arithmetic

CPU = torch.device("cpu")
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", nargs="+", type=int, default=[2])
    parser.add_argument("--frames", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(ModelConfig())
    copies = {precision: evaluation_copy(model, CPU, precision) for precision in ("float32", "bf16")}
    tracker = TrackerConfig(select_threshold=0.5)
    for threads in options.threads:
        torch.set_num_threads(threads)
        taken: dict[str, list[float]] = {precision: [] for precision in copies}
        for number in range(WARM_UP + options.frames):
            frames = collate_frames([made_frame((480, 853), seed=number)], config=InputConfig())
            for precision, copy in copies.items():
                start = time.perf_counter()
                with torch.inference_mode(), arithmetic(CPU, precision):
                    select_detections(copy, copy(frames), tracker)
                taken[precision].append(time.perf_counter() - start)
        full, half = (1000 * statistics.median(values[WARM_UP:]) for values in taken.values())
        print(f"{threads} threads: float32 {full:.0f} ms, bf16 {half:.0f} ms a frame, {full / half:.2f} times")


if __name__ == "__main__":
    main()
