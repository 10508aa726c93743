"""A training step of R50 on a GPU: milliseconds, kernels and copies started by the host, how long the device is busy.

    python benchmarks/step_kernels.py bf16          # 4 pairs of 480x768, random frames and weights
    python benchmarks/step_kernels.py bf16 --table  # and what takes the host's time

Where the device is busy for less time than a step takes, it waits for the host. Asserts nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.profiler import ProfilerActivity, profile

from idol_core.build import build_model
from idol_core.config import LossConfig, ModelConfig, SolverConfig
from idol_core.engine.optim import clip_gradients, make_optimizers, skip_unless_finite
from idol_core.engine.step_weights import step_weights
from idol_core.losses.criterion import Criterion
from idol_core.ops.precision import arithmetic
from idolctl.bench.training import CLASSES, random_pairs

CUDA = torch.device("cuda")
WARM_UP, STEPS, PROFILED = 5, 20, 3


def measure(precision: str, *, table: bool) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig()).to(CUDA).train()
    optimizers = make_optimizers(model, SolverConfig(lr=1e-6))
    criterion = Criterion(LossConfig())
    batch = random_pairs(4, (480, 768), CLASSES).to(CUDA)
    generators = [torch.Generator(CUDA).manual_seed(item) for item in range(4)]

    def step() -> None:
        with step_weights(model, precision):
            with arithmetic(CUDA, precision):
                losses = criterion(model, model(batch.frames), batch, generator=generators)
            torch.stack(list(losses.values())).sum().backward()
        skip_unless_finite(optimizers, clip_gradients(model, 0.01))
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    taken = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(PROFILED):
            step()
        torch.cuda.synchronize()
    kernels = [event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 1000 / PROFILED
    median = 1000 * statistics.median(taken[WARM_UP:])
    print(
        f"{torch.cuda.get_device_name()}, {precision}: {median:.1f} ms a step ({4000 / median:.1f} pairs/s), "
        f"{len(kernels) / PROFILED:.0f} kernels and copies, device busy for {busy:.1f} ms"
    )
    if table:
        print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("precision", choices=("float32", "tf32", "bf16", "fp16"))
    parser.add_argument("--table", action="store_true", help="the operations that take most of the host's time")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA device")
    measure(options.precision, table=options.table)


if __name__ == "__main__":
    main()
