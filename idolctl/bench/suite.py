"""Everything that `idolctl bench` measures, in order, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from idol_core.build import build_model
from idol_core.config import ModelConfig, Precision, ResNetConfig, SwinConfig
from idol_core.model.idol import IDOL
from idol_core.ops.precision import default_precision
from idolctl.bench.inference import inference_row
from idolctl.bench.machine import Machine, measure_machine
from idolctl.bench.operator import Sample, operator_rows
from idolctl.bench.row import Row
from idolctl.bench.training import training_row

MODELS = {
    "r50": ModelConfig(),
    "swinl": ModelConfig(backbone=SwinConfig()),
    "a reduced r50": ModelConfig(ResNetConfig(blocks=(1, 1, 1, 1)), encoder_layers=2, decoder_layers=2, queries=100),
}
PUBLISHED = ("r50", "swinl")
SECONDS = 8 * 60.0  # for everything: after that the rest is left out
GOALS = {("r50", (480, 853), 8): "goal 250"}  # frames a second on an H100


@dataclass(frozen=True)
class Suite:
    """What is measured. Sizes are (height, width) in pixels; `budget` is the seconds spent on each figure."""

    models: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    batches: tuple[int, ...]
    operator: tuple[tuple[int, int], int]  # padded size and number of frames
    training: tuple[tuple[int, int], int]  # size and pairs a step
    budget: float
    seconds: float = SECONDS


def suite_for(device: torch.device, *, quick: bool) -> Suite:
    """All of it, or with `quick` r50 at one size; on a CPU `quick` takes seconds, with a small network and frames."""
    if device.type == "cuda" and not quick:
        sizes = ((360, 640), (480, 853), (720, 1280))
        return Suite(PUBLISHED, sizes, (1, 8), ((480, 864), 8), ((480, 768), 4), 2.0)
    if device.type == "cuda":
        return Suite(("r50",), ((480, 853),), (1, 8), ((480, 864), 8), ((480, 768), 4), 0.5)
    if not quick:
        return Suite(PUBLISHED, ((360, 640), (480, 853)), (1,), ((480, 864), 1), ((480, 768), 1), 10.0)
    return Suite(("a reduced r50",), ((64, 96),), (1,), ((64, 96), 1), ((64, 96), 1), 0.05)


def measure(device: torch.device, suite: Suite, original: Sample | None) -> Iterator[Row]:
    """Measure a suite, yielding rows as they are done. A figure that takes too much memory is a row without a value."""
    ends = time.monotonic() + suite.seconds
    precisions: tuple[Precision, ...] = ("float32", "tf32", "bf16") if device.type == "cuda" else ("float32",)
    machine = measure_machine(device, precisions, suite.budget)
    yield from machine.rows()
    size, frames = suite.operator
    yield from _guarded("operator", "all", lambda: list(operator_rows(machine, size, frames, suite.budget, original)))
    for name in suite.models:
        torch.manual_seed(0)
        model = build_model(MODELS[name])
        for work in [*_inference(machine, suite, name, model), *_training(machine, suite, name, model)]:
            if time.monotonic() > ends:
                yield Row(work.part, work.what, None, "", note=f"left out: {suite.seconds:.0f} seconds were over")
            else:
                yield from _guarded(work.part, work.what, work.measure)


class _Work(NamedTuple):
    part: str
    what: str
    measure: Callable[[], list[Row]]


def _inference(machine: Machine, suite: Suite, name: str, model: IDOL) -> Iterator[_Work]:
    precision = default_precision(machine.device)
    for size in suite.sizes:
        for batch in suite.batches:
            for graphs in (False, True) if machine.device.type == "cuda" else (False,):

                def work(s: tuple[int, int] = size, b: int = batch, g: bool = graphs) -> list[Row]:
                    note = GOALS.get((name, s, b), "") if machine.device.type == "cuda" else ""
                    row = inference_row(machine, name, model, s, b, precision, suite.budget, cuda_graphs=g, note=note)
                    return [row]

                yield _Work("inference", f"{name}, {size[0]}x{size[1]}, batch {batch}", work)


def _training(machine: Machine, suite: Suite, name: str, model: IDOL) -> Iterator[_Work]:
    size, pairs = suite.training
    for precision in machine.rates:
        if precision == "tf32":
            continue

        def work(p: Precision = precision) -> list[Row]:
            return [training_row(machine, name, model, size, pairs, p, suite.budget)]

        yield _Work("training", f"{name}, {size[0]}x{size[1]}, {precision}", work)


def _guarded(part: str, what: str, work: Callable[[], list[Row]]) -> list[Row]:
    try:
        return work()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return [Row(part, what, None, "", note="out of memory")]
