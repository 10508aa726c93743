"""What the network costs a CUDA device, counted without one: memory for the backward pass, operations, waits.

    python benchmarks/cuda_static.py                       # r50 and Swin-L, about a minute and a half
    python benchmarks/cuda_static.py --models r50 --json counts.json

Everything runs on fake tensors: shapes, dtypes and devices are real, values are not. Counted are

- the bytes that autograd keeps for the backward pass after the forward of 4 pairs of frames (each storage once, the
  parameters not);
- the operations that do work (views and allocations don't) in the forward of one frame, and the casts among them;
- the same in a training step of 4 pairs, each of which the host has to start: making the step's weights, forward,
  losses with matching, backward (on fake tensors of the CPU, as autograd does no backward for CUDA without a GPU;
  clipping and the optimizer are a few operations on all weights and are left out);
- waits: places where the host needs a value from the device before it can go on;
- graph breaks of torch.compile, on a small model of the same build.

Beside each count stands what it was when counting began, and the goal. Nothing is timed and no GPU is used: a count
says what is asked of the device, not how quickly it answers. Tests bound the counts (tests/unit/test_cuda_static.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from idol_core.build import assemble
from idol_core.config import LossConfig, ModelConfig, Precision, SwinConfig, TrackerConfig
from idol_core.engine.fake_cuda import (
    CUDA,
    Operations,
    aten,
    fake_batch,
    fake_cuda,
    fake_frames,
    saved_storages,
    shapes_of,
)
from idol_core.engine.optim import clip_gradients, skip_unless_finite
from idol_core.engine.step_weights import step_weights
from idol_core.inference.prepare import evaluation_copy
from idol_core.losses.criterion import Criterion
from idol_core.structures import FrameBatch

MODELS = {"r50": ModelConfig(), "swinl": ModelConfig(backbone=SwinConfig())}
DTYPES: tuple[Precision, ...] = ("float32", "bf16")
PARTS = ("weights", "forward", "losses", "backward")  # of a training step
MATCHES = 200  # queries of all layers that an object was assigned
GIB = 2**30


def kept_bytes(config: ModelConfig, height: int, width: int, *, precision: Precision, pairs: int = 4) -> int:
    """Bytes kept for the backward pass by a training forward of so many pairs of padded frames."""
    model = shapes_of(config).train()
    with fake_cuda(precision):
        model.to_empty(device=CUDA)
        with saved_storages(model) as saved, step_weights(model, precision):
            model(fake_frames(2 * pairs, height, width))
    return saved.bytes


def frame_operations(config: ModelConfig, height: int, width: int, *, precision: Precision) -> Operations:
    """The operations of the forward of one frame in evaluation, once everything is warm."""
    model = evaluation_copy(shapes_of(config), torch.device("meta"), precision)
    with fake_cuda(precision), torch.no_grad():
        model.to_empty(device=CUDA)
        frames = fake_frames(1, height, width)
        model(frames)
        torch.clear_autocast_cache()
        with Operations() as seen:
            model(frames)
    return seen


def training_waits(config: ModelConfig, height: int, width: int) -> Counter[str]:
    """What the host waits for in a training step whose losses are not read, on one process."""
    model = shapes_of(config).train()
    with fake_cuda():
        model.to_empty(device=CUDA)
        batch = fake_batch(2, height, width)
        with Operations() as seen, step_weights(model, "float32"):
            Criterion(LossConfig())(model, model(batch.frames), batch)
            for parameter in model.parameters():  # autograd's backward asks for a real device, and never waits for it
                parameter.grad = torch.empty_like(parameter)
            skip_unless_finite([], clip_gradients(model, 0.01))
    return seen.waits


def training_operations(config: ModelConfig, height: int, width: int, *, precision: Precision) -> dict[str, Operations]:
    """The operations of each part of a training step of 4 pairs, once everything is warm."""
    model, cpu = shapes_of(config).train(), torch.device("cpu")
    with fake_cuda(precision, device=cpu):
        model.to_empty(device=cpu)
        batch = fake_batch(4, height, width, device=cpu)
        with Operations(selected=MATCHES, device=cpu):  # makes what is kept for all steps
            Criterion(LossConfig())(model, model(batch.frames), batch)
        torch.clear_autocast_cache()
        seen = {part: Operations(selected=MATCHES, device=cpu) for part in PARTS}
        with ExitStack() as step:
            with seen["weights"]:
                step.enter_context(step_weights(model, precision))
            with seen["forward"]:
                decoded = model(batch.frames)
            with seen["losses"]:
                objective = torch.stack(list(Criterion(LossConfig())(model, decoded, batch).values())).sum()
            with seen["backward"], torch.autocast("cpu", enabled=False):
                objective.backward()
    return seen


def frame_waits(config: ModelConfig, height: int, width: int, *, frames: int = 4) -> Counter[str]:
    """What the host waits for in one batch of evaluation: forward, selection, and all that tracking needs."""
    from idol_core.inference.select import pack, select_detections

    model = shapes_of(config).eval()
    with fake_cuda(), torch.no_grad():
        model.to_empty(device=CUDA)
        batch = fake_frames(frames, height, width)
        with Operations() as seen:
            found = select_detections(model, model(batch), TrackerConfig())
            pack(found, (height, width - 10), (720, 1280)).cpu()
    return seen.waits


def graph_breaks() -> int:
    """Graph breaks of the forward in evaluation under torch.compile, on a small model on the CPU."""
    import torch._dynamo

    from tests.unit.tiny import tiny_config

    torch.manual_seed(0)
    with torch.device("cpu"), torch.no_grad():
        model = assemble(tiny_config()).eval()
        padding = torch.zeros(1, 64, 96, dtype=torch.bool)
        frames = FrameBatch(torch.randn(1, 3, 64, 96), padding, torch.tensor([[64, 96]]))
        torch._dynamo.reset()
        return int(torch._dynamo.explain(model)(frames).graph_break_count)


class Row(NamedTuple):
    """A line of the table."""

    what: str
    model: str
    issue: str  # when counting began
    now: float
    goal: str


def rows(names: list[str]) -> Iterator[Row]:
    for name in names:
        config, r50 = MODELS[name], name == "r50"
        less = dataclasses.replace(config, checkpoint=True)
        for height, width in ((480, 864), (640, 1152)):
            small = height == 480
            for precision in DTYPES:
                kept = kept_bytes(config, height, width, precision=precision) / GIB
                before = {(True, "float32"): "16.6", (False, "float32"): "28.7"}.get((small, precision), "") * r50
                goal = {(True, "float32"): "10", (True, "bf16"): "6", (False, "float32"): "17"}
                yield Row(f"GiB kept for backward, 4 pairs {height}x{width}, {precision}", name, before, kept,
                          goal.get((small, precision), "") * r50)  # fmt: skip
                kept = kept_bytes(less, height, width, precision=precision) / GIB
                yield Row(f"  with model.checkpoint, {precision}", name, "", kept, "3.5" * (r50 and small))
        for precision in DTYPES:
            seen = frame_operations(config, 480, 864, precision=precision)
            before = {"float32": "1038", "bf16": "1312"}[precision] * r50
            yield Row(f"operations, one frame 480p, {precision}", name, before, seen.total, "550" * r50)
        yield Row("casts among them, bf16", name, "283" * r50, seen.casts, "50" * r50)
        yield Row("folding frozen batch norms", name, "318" * r50, seen.counts[aten.rsqrt], "0" * r50)
        for precision in DTYPES:
            parts = training_operations(config, 480, 768, precision=precision)
            before = {"float32": "2774", "bf16": "3435"}[precision] * r50
            total = sum(seen.total for seen in parts.values())
            yield Row(f"operations, a training step, {precision}", name, before, total, "")
            for part, seen in parts.items():
                yield Row(f"  {part}", name, "", seen.total, "")
        yield Row("waits, a batch of 4 frames", name, "", frame_waits(config, 480, 864).total(), "2" * r50)
        yield Row("waits, a training step", name, "5" * r50, training_waits(config, 480, 864).total(), "2" * r50)
    yield Row("graph breaks under torch.compile", "tiny", "6", graph_breaks(), "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--json", type=Path, help="write the rows to this file as well")
    options = parser.parse_args()
    print(f"{'':58s} {'model':6s} {'issue':>8s} {'now':>8s} {'goal':>8s}")
    seen = []
    for row in rows(options.models):
        seen.append(row._asdict())
        now = f"{row.now:.2f}" if isinstance(row.now, float) else str(row.now)
        print(f"{row.what:58s} {row.model:6s} {row.issue:>8s} {now:>8s} {row.goal:>8s}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
