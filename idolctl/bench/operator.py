"""Deformable attention alone, forward and backward, beside grid_sample and the original's compiled operator."""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idol_core.errors import Integrity, Missing
from idol_core.ops.deform_attn import LevelShapes, deformable_attention, sample_with_torch
from idolctl.bench import clock
from idolctl.bench.machine import Machine
from idolctl.bench.row import Row

Sample = Callable[[Tensor, LevelShapes, Tensor, Tensor], Tensor]
HEADS, DIM, POINTS = 8, 32, 4  # of r50 and Swin-L
LIBRARY = "MultiScaleDeformableAttention"
GOAL = "goal 2"  # times the original
FILLS = 40  # of 256 MiB: about 2 ms on an H100, longer than the host takes to launch the operator


def original_operator(checkout: Path) -> Sample:
    """The compiled operator found below a checkout of the original, as a function like ours (float32 only).

    Raises Missing if there is none, Integrity if it can't be loaded.
    """
    libraries = sorted(checkout.rglob(f"{LIBRARY}*.so"))
    if not libraries:
        fix = "build it there (python setup.py build), or leave --against out"
        raise Missing(f"no compiled operator: no {LIBRARY}*.so", where=str(checkout), fix=fix)
    try:
        spec = importlib.util.spec_from_file_location(LIBRARY, libraries[-1])
        assert spec is not None
        assert spec.loader is not None
        library = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(library)
    except (ImportError, OSError) as error:
        what = f"the operator can't be loaded: {error}"
        raise Integrity(what, where=str(libraries[-1]), fix=f"build it with torch {torch.__version__}") from error

    class Original(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Tensor) -> Any:
            ctx.save_for_backward(*given)
            return library.ms_deform_attn_forward(*given, 64)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            found = library.ms_deform_attn_backward(*ctx.saved_tensors, grad.contiguous(), 64)
            return found[0], None, None, found[1], found[2]

    def sample(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
        shapes = torch.tensor(level_shapes, device=value.device)
        starts = torch.cat((shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]))
        result: Tensor = Original.apply(value, shapes, starts, locations, weights)
        return result

    return sample


def operator_rows(
    machine: Machine, size: tuple[int, int], frames: int, budget: float, original: Sample | None
) -> Iterator[Row]:
    """Milliseconds in the encoder and decoder for `frames` padded frames of `size`; `share` is of the bandwidth."""
    levels = tuple((math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in (8, 16, 32, 64))
    dtypes = (torch.float32, torch.bfloat16) if machine.device.type == "cuda" else (torch.float32,)
    for where, queries in (("encoder", None), ("decoder", 300)):
        for dtype in dtypes:
            samples: dict[str, Sample] = {"ours": deformable_attention, "grid_sample": _plain}
            if original is not None and dtype == torch.float32:
                samples["the original"] = original
            given = _inputs(levels, frames, queries, dtype, machine.device)
            times = _times(samples, given, levels, machine.device, budget)
            for index, (way, least) in enumerate(zip(("forward", "backward"), _bytes_moved(given), strict=True)):
                ours, *others = (times[name][index] for name in samples)
                ratios = [f"{t / ours:.2f}x {name}" for t, name in zip(others, list(samples)[1:], strict=True)]
                goal = f" ({GOAL})" if "the original" in samples else ""
                what = f"{where}, {frames} x {size[0]}x{size[1]}, {str(dtype)[6:]}, {way}"
                share = least / ours / machine.bandwidth
                yield Row("operator", what, 1000 * ours, "ms", None, share, ", ".join(ratios) + goal)


def _plain(value: Tensor, level_shapes: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
    """grid_sample over samples kept for the backward pass, in float32."""
    return sample_with_torch(value.float(), level_shapes, locations, weights).to(value.dtype)


def _inputs(
    levels: LevelShapes, frames: int, queries: int | None, dtype: torch.dtype, device: torch.device
) -> list[Tensor]:
    """Value, locations, weights; without `queries`, each cell looks around itself as the encoder's do."""
    if queries is None:
        axes = [((torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h) for h, w in levels]
        grids = [torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) for x, y in axes]
        places = torch.cat([grid.reshape(-1, 2) for grid in grids])
    else:
        places = torch.rand(queries, 2)
    sizes = torch.tensor([(w, h) for h, w in levels])[:, None]  # [L, 1, 2]
    offsets = 3 * torch.randn(frames, len(places), HEADS, len(levels), POINTS, 2)
    locations = places[:, None, None, None] + offsets / sizes
    weights = torch.randn(frames, len(places), HEADS, len(levels) * POINTS).softmax(-1)
    value = torch.randn(frames, sum(h * w for h, w in levels), HEADS, DIM).to(dtype)
    return [x.to(device).requires_grad_() for x in (value, locations, weights.view(*weights.shape[:3], -1, POINTS))]


def _times(
    samples: dict[str, Sample], given: list[Tensor], levels: LevelShapes, device: torch.device, budget: float
) -> dict[str, tuple[float, float]]:
    """Median seconds of forward and backward of each implementation; they take turns, each with a cold cache."""
    cold = torch.empty(2**28 if device.type == "cuda" else 0, dtype=torch.uint8, device=device)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in samples}
    spent, rounds, warm_up = 0.0, 0, clock.warm_up(device)
    while rounds <= warm_up or (spent < budget and rounds < clock.MOST):
        for name, sample in samples.items():
            forward, backward = _forward_and_backward(sample, given, levels, device, cold)
            if rounds >= warm_up:
                found[name].append((forward, backward))
                spent += forward + backward
        rounds += 1
    medians = {
        name: [statistics.median(column) for column in zip(*times, strict=True)] for name, times in found.items()
    }
    return {name: (forward, backward) for name, (forward, backward) in medians.items()}


def _forward_and_backward(
    sample: Sample, given: list[Tensor], levels: LevelShapes, device: torch.device, cold: Tensor
) -> tuple[float, float]:
    """Seconds of each on the device. Filling `cold` before drives the inputs out of its cache and keeps it busy."""

    def fill() -> None:
        for _ in range(FILLS):
            cold.zero_()

    outputs: list[Tensor] = []
    forward = clock.once(lambda: outputs.append(sample(given[0], levels, *given[1:])), device, before=fill)
    grad = torch.randn_like(outputs[0])
    return forward, clock.once(lambda: torch.autograd.grad(outputs[0], given, grad), device, before=fill)


def _bytes_moved(given: list[Tensor]) -> tuple[int, int]:
    """The fewest bytes forward and backward must move: each input read once, each output written once."""
    value, locations, weights = (x.numel() * x.element_size() for x in given)
    output = given[1][..., 0, 0, 0].numel() * DIM * given[0].element_size()
    return value + locations + weights + output, 2 * (value + locations + weights) + output
