"""Deformable attention on a GPU: ms forward and backward of the Triton kernels beside grid_sample and the original.

    python benchmarks/deform_attn.py                          # encoder and decoder of r50 at 480x864, 8 frames
    python benchmarks/deform_attn.py --original CHECKOUT      # also the compiled operator of an IDOL checkout
    python benchmarks/deform_attn.py --size 360 640 --frames 1

CHECKOUT is a folder below which `MultiScaleDeformableAttention*.so` was built (`python setup.py build`), float32 only.
Every column takes its turn in one run; each figure is the median. Without a GPU it says so and ends. Asserts nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from idol_core.ops.deform_attn import LevelShapes, deformable_attention, sample_with_torch

Sample = Callable[[Tensor, LevelShapes, Tensor, Tensor], Tensor]
HEADS, DIM, POINTS = 8, 32, 4
ROUNDS = 30


def original(checkout: Path) -> Sample:
    """The original's compiled operator as a function like ours."""
    libraries = sorted(checkout.rglob("MultiScaleDeformableAttention*.so"))
    if not libraries:
        sys.exit(
            f"error: no compiled operator\n  no MultiScaleDeformableAttention*.so below {checkout}\n  build it first"
        )
    spec = importlib.util.spec_from_file_location("MultiScaleDeformableAttention", libraries[-1])
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)

    class Original(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor):
            ctx.save_for_backward(value, shapes, starts, locations, weights)
            return library.ms_deform_attn_forward(value, shapes, starts, locations, weights, 64)

        @staticmethod
        def backward(ctx: Any, grad: Tensor):
            by_value, by_locations, by_weights = library.ms_deform_attn_backward(
                *ctx.saved_tensors, grad.contiguous(), 64
            )
            return by_value, None, None, by_locations, by_weights

    def sample(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
        shapes = torch.tensor(level_shapes, device=value.device)
        starts = torch.cat((shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]))
        return Original.apply(value, shapes, starts, locations, weights)

    return sample


def plain(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """grid_sample over samples kept for the backward pass, in float32."""
    return sample_with_torch(value.float(), level_shapes, locations, weights).to(value.dtype)


def inputs(level_shapes: LevelShapes, frames: int, queries: int | None, dtype: torch.dtype) -> list[Tensor]:
    """Value, locations, weights; without `queries`, each cell looks around itself as the encoder's do."""
    cells = sum(h * w for h, w in level_shapes)
    if queries is None:
        centres = [
            torch.stack(torch.meshgrid((torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h, indexing="xy"), -1)
            for h, w in level_shapes
        ]
        places = torch.cat([c.reshape(-1, 2) for c in centres])
    else:
        places = torch.rand(queries, 2)
    sizes = torch.tensor([(w, h) for h, w in level_shapes])[:, None]  # [L, 1, 2]
    offsets = 3 * torch.randn(frames, len(places), HEADS, len(level_shapes), POINTS, 2)
    locations = places[:, None, None, None] + offsets / sizes
    weights = torch.randn(frames, len(places), HEADS, len(level_shapes) * POINTS).softmax(-1)
    value = torch.randn(frames, cells, HEADS, DIM).to(dtype)
    given = value, locations, weights.unflatten(-1, (-1, POINTS))
    return [x.cuda().requires_grad_() for x in given]


def timed(work: Callable[[], object], cold: Tensor) -> float:
    """ms of one run, by the device's events, with other data in the cache before it."""
    cold.zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def measure(samples: dict[str, Sample], given: list[Tensor], level_shapes: LevelShapes) -> dict[str, list[float]]:
    """Median ms of forward and backward, and MiB kept in between, of each implementation."""
    cold = torch.empty(2**28, dtype=torch.uint8, device="cuda")  # more than any second-level cache
    times: dict[str, list[list[float]]] = {name: [[], [], []] for name in samples}
    for round_ in range(ROUNDS + 5):
        for name, sample in samples.items():
            before = torch.cuda.memory_allocated()
            outputs: list[Tensor] = []
            forward = timed(lambda s=sample, o=outputs: o.append(s(given[0], level_shapes, *given[1:])), cold)
            kept = (torch.cuda.memory_allocated() - before) / 2**20
            grad = torch.randn_like(outputs[0])
            backward = timed(lambda o=outputs, g=grad: torch.autograd.grad(o[0], given, g), cold)
            if round_ >= 5:
                for figures, figure in zip(times[name], (forward, backward, kept), strict=True):
                    figures.append(figure)
    return {name: [sorted(f)[len(f) // 2] for f in figures] for name, figures in times.items()}


def bytes_moved(given: list[Tensor]) -> tuple[int, int]:
    """The fewest bytes forward and backward must move: each input read once, each output written once."""
    value, locations, weights = (x.numel() * x.element_size() for x in given)
    output = locations // (given[1].shape[3] * POINTS * 8) * DIM * given[0].element_size()
    return value + locations + weights + output, 2 * (value + locations + weights) + output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs=2, type=int, default=(480, 864), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--original", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: no CUDA device here, and none of this can be measured without one")
        return
    torch.manual_seed(0)
    h, w = options.size
    level_shapes = tuple((math.ceil(h / s), math.ceil(w / s)) for s in (8, 16, 32, 64))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.frames} frames of {h}x{w}")
    print(
        f"{'':32s}{'forward':>9s} {'ratio':>6s} {'GB/s':>6s} {'backward':>9s} {'ratio':>6s} {'GB/s':>6s} {'kept':>10s}"
    )
    for part, queries in (("encoder", None), ("decoder, 300 queries", 300)):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            samples: dict[str, Sample] = {"triton": deformable_attention, "grid_sample": plain}
            if options.original and dtype == torch.float32:
                samples["original"] = original(options.original)
            given = inputs(level_shapes, options.frames, queries, dtype)
            least = bytes_moved(given)
            results = measure(samples, given, level_shapes)
            print(f"{part}, {str(dtype)[6:]}")
            for name, (forward, backward, kept) in results.items():
                columns = ""
                for ms, ours, size in zip((forward, backward), results["triton"], least, strict=False):
                    columns += f"{ms:9.3f} {ms / ours:6.2f} {size / ms / 1e6:6.0f} "
                print(f"    {name:28s}{columns}{kept:6.0f} MiB")


if __name__ == "__main__":
    main()
