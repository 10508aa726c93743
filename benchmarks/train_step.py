"""Where the time of a training step goes: data, forward, matching, losses, backward, optimiser; and pairs a second.

    python benchmarks/train_step.py                  # the tiny model on toy videos, 8 pairs of 96x128
    python benchmarks/train_step.py --model r50      # ResNet-50 at the published crop sizes, on synthetic pairs

Each figure is the median over the iterations after warm-up. Asserts nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from idol_core.system.cpu import configure_threads

THREADS = configure_threads()

import torch  # noqa: E402  (after the thread settings)

from idol_core.build import build_model  # noqa: E402
from idol_core.config import ModelConfig, ResNetConfig, SolverConfig, StageConfig  # noqa: E402
from idol_core.engine.optim import clip_gradients, make_optimizers  # noqa: E402
from idol_core.engine.step_weights import step_weights  # noqa: E402
from idol_core.losses.contrastive import select_samples  # noqa: E402
from idol_core.losses.criterion import Criterion  # noqa: E402
from idol_core.losses.simota import match  # noqa: E402
from idol_core.structures import Batch  # noqa: E402
from idol_core.system.cpu import keep_freed_memory  # noqa: E402
from idolctl.bench.training import random_pairs  # noqa: E402

PARTS = ("data", "forward", "matching", "losses", "backward", "optimiser")


def tiny_model() -> ModelConfig:
    """The reduced configuration of the fixed yardstick: hidden 64, 4 heads, 2 + 3 layers, 100 queries, from scratch."""
    backbone = ResNetConfig(blocks=(1, 1, 1, 1), stem_channels=16, bottleneck_channels=16, out_channels=64, freeze_at=0)
    return ModelConfig(
        backbone=backbone, num_classes=4, hidden_dim=64, heads=4, encoder_layers=2, decoder_layers=3,
        feedforward_dim=128, dropout=0.0, queries=100,
    )  # fmt: skip


def synthetic_pairs(pairs: int, height: int, width: int, classes: int) -> Iterator[Batch]:
    """Endless batches of random frames: the cost of a step without its data."""
    for seed in itertools.count():
        yield random_pairs(pairs, (height, width), classes, seed=seed)


def toy_pairs(workers: int) -> Iterator[Batch]:
    """Step 3 of the toy recipe, through the real reader and loader."""
    from idol_core.config import CropConfig, DataConfig, DataSource, InputConfig
    from idol_core.data.catalog import resolve_source
    from idol_core.data.dataset import open_dataset
    from idol_core.data.loader import make_loader
    from idol_core.data.toy.make import make_toy

    root = Path(tempfile.mkdtemp())
    make_toy(root, seed=0)
    dataset = open_dataset(resolve_source(DataSource(name="toy_train"), root))
    config = StageConfig(
        recipe="toy", backbone="tiny", step=3,
        model=dataclasses.replace(tiny_model(), num_classes=len(dataset.category_ids)),
        input=InputConfig(short_sides=(96,), max_size=128, crop=CropConfig(probability=0.0)),
        data=DataConfig(workers=workers), solver=SolverConfig(batch_size=8, normalize="global", iterations=10**6),
    )  # fmt: skip
    for micro_batches in make_loader(config, dataset, start_iteration=0, workers=workers):
        yield from micro_batches


def measure(
    model_config: ModelConfig,
    batches: Iterator[Batch],
    *,
    iterations: int,
    warm_up: int,
    optimizer: Literal["adamw", "muon"],
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":  # as the worker does
        keep_freed_memory()
    torch.manual_seed(0)
    model = build_model(model_config).to(device).train()
    solver = SolverConfig(optimizer=optimizer)
    optimizers, criterion = make_optimizers(model, solver), Criterion(StageConfig("", "", 3).loss)
    seconds: dict[str, list[float]] = {part: [] for part in (*PARTS, "step")}

    def timed(part: str, work: Callable[[], object]) -> object:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds[part].append(time.perf_counter() - start)
        return result

    pairs = 0
    for _ in range(iterations + warm_up):
        begun = time.perf_counter()
        batch = timed("data", lambda: next(batches).to(device))
        assert isinstance(batch, Batch)
        pairs = len(batch.sample_ids)
        with ExitStack() as stack:

            def forward(b=batch, s=stack) -> object:
                s.enter_context(step_weights(model, "float32"))
                return model(b.frames)

            decoded = timed("forward", forward)
            losses = timed("losses", lambda b=batch, d=decoded: criterion(model, d, b))
            timed("backward", lambda values=losses: torch.stack(list(values.values())).sum().backward())

        def update() -> None:
            clip_gradients(model, solver.clip_norm)
            for each in optimizers:
                each.step()
            model.zero_grad()

        timed("optimiser", update)
        seconds["step"].append(time.perf_counter() - begun)
        keys, refs = decoded.frames(slice(0, None, 2)), decoded.frames(slice(1, None, 2))

        def matching(k=keys, r=refs, b=batch) -> None:  # once more, on its own: the losses above contain it
            match(k.logits, k.boxes, b.key)
            select_samples(r.logits[-1].sigmoid(), r.boxes[-1], b.ref)

        timed("matching", matching)
    median = {part: statistics.median(values[warm_up:]) for part, values in seconds.items()}
    median["losses"] -= median["matching"]
    whole = median.pop("step")
    for part in PARTS:
        print(f"{part:10s} {1000 * median[part]:9.1f} ms {100 * median[part] / whole:6.1f} %")
    print(
        f"{'step':10s} {1000 * whole:9.1f} ms, {pairs / whole:.1f} pairs/s, {pairs} pairs, {THREADS} threads, {device}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "r50"), default="tiny")
    parser.add_argument("--synthetic", action="store_true", help="tiny: synthetic pairs instead of toy videos")
    parser.add_argument("--pairs", type=int, help="pairs a step (8 for tiny, 2 for r50)")
    parser.add_argument("--size", type=int, nargs=2, help="height and width (96 128 for tiny, 480 768 for r50)")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--workers", type=int, default=1, help="loader processes (toy videos)")
    options = parser.parse_args()
    tiny = options.model == "tiny"
    height, width = options.size or ((96, 128) if tiny else (480, 768))
    config = tiny_model() if tiny else ModelConfig()
    if tiny and not options.synthetic:
        batches = toy_pairs(options.workers)
        first = next(batches)
        config = dataclasses.replace(config, num_classes=max(config.num_classes, int(first.key.labels.max()) + 1, 8))
    else:
        batches = synthetic_pairs(options.pairs or (8 if tiny else 2), height, width, config.num_classes)
    measure(
        config, batches, iterations=options.iterations, warm_up=options.warm_up, optimizer=options.optimizer
    )  # fmt: skip


if __name__ == "__main__":
    main()
