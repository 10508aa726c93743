"""Frames a second of an exported model in each runtime beside torch, and how much memory its export takes.

    python benchmarks/exported.py model.safetensors model.onnx model.xml --frames 5
    python benchmarks/exported.py model.safetensors --export onnx --sizes 480x864      # peak memory of one export

Random frames, in turns; what is timed goes from a frame to its detections (no tracker, no decoding of video).
torch is ours, with its own operator for deformable attention; each runtime has as many threads as torch (--threads).
Prints the median of each and its ratio to torch. Asserts nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from idol_core.data.collate import collate_frames
from idol_core.export.proof import made_frame
from idol_core.inference.exported import open_exported
from idol_core.inference.prepare import for_evaluation
from idol_core.inference.pretrained import open_pretrained
from idol_core.inference.select import select_detections
from idol_core.ops.precision import arithmetic

_FEW = 0.5  # lowest score in torch, which computes masks for what it selects only: random weights select hundreds


def speed(files: list[Path], sizes: list[tuple[int, int]], threads: int, frames: int) -> None:
    torch.set_num_threads(threads)
    model, recipe, _ = open_pretrained(files[0])
    network = for_evaluation(model)
    cpu = torch.device("cpu")
    tracker = dataclasses.replace(recipe.tracker, select_threshold=_FEW)

    def ours(frame: torch.Tensor) -> object:
        with torch.inference_mode(), arithmetic(cpu, "float32"):
            return select_detections(network, network(collate_frames([frame], config=recipe.input)), tracker)

    ways = {f"torch, {files[0].name}": ours}
    for file in files[1:]:
        exported = open_exported(file)
        ways[file.name] = lambda frame, exported=exported: exported.run(frame)
    for size in sizes:
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(frames + 1):
            frame = made_frame(size, seed=number)
            for name, way in ways.items():
                start = time.perf_counter()
                way(frame)
                spent[name].append(time.perf_counter() - start)
        first = statistics.median(next(iter(spent.values()))[1:])
        for name, seconds in spent.items():
            median = statistics.median(seconds[1:])  # the first is the warm-up
            print(f"{size[0]}x{size[1]}  {threads} threads  {name:32s} {1 / median:6.2f} frames/s  "
                  f"x {first / median:.2f}", flush=True)  # fmt: skip


def memory(weights: Path, form: str, size: tuple[int, int]) -> None:
    from idol_core.export.model import FORMATS, export_model
    from idol_core.system.cpu import map_large_blocks

    map_large_blocks()  # as the command does
    with tempfile.TemporaryDirectory() as folder:
        done = export_model(weights, Path(folder) / f"model{FORMATS[form].ending}", form=form, size=size)
        written = sum(file.stat().st_size for file in done.files) / 1e6
    peak, own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, weights.stat().st_size / 1e6
    print(f"{weights.name}, {own:.0f} MB, as {form}: {written:.0f} MB; peak memory {peak:.0f} MB, x {peak / own:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="weights, then exported models of them")
    parser.add_argument("--sizes", nargs="+", default=["480x853", "360x640"], help="HEIGHTxWIDTH of frames")
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--export", help="measure this export of the weights instead: onnx, openvino or torch")
    options = parser.parse_args()
    sizes = [(int(h), int(w)) for h, w in (text.split("x") for text in options.sizes)]
    if options.export:
        memory(options.files[0], options.export, sizes[0])
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for threads in options.threads:
        speed(options.files, sizes, threads, options.frames)


if __name__ == "__main__":
    main()
