"""Where the network's time goes: processor ms of each part, forward, and forward with backward.

    python benchmarks/forward_parts.py                  # the tiny model, 16 frames of 96x128
    python benchmarks/forward_parts.py --model r50      # ResNet-50, one frame of 480x864

One thread; processor time, so that other processes matter little. Asserts nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402  (after the thread settings)
from torch import Tensor  # noqa: E402
from train_step import tiny_model  # noqa: E402

from idol_core.build import build_model  # noqa: E402
from idol_core.config import ModelConfig  # noqa: E402
from idol_core.model.idol import IDOL  # noqa: E402
from idol_core.structures import FrameBatch  # noqa: E402

Part = tuple[str, Callable[[], Iterable[Tensor]]]


def parts(model: IDOL, frames: FrameBatch, masks: int) -> list[Part]:
    """Each part on its own, on the real outputs of the one before, through which no gradient flows back."""
    images = frames.images.contiguous(memory_format=torch.channels_last)
    features = [x.detach().requires_grad_() for x in model.backbone(images)]
    pyramid = model.pyramid(features, frames.padding)
    pyramid = pyramid._replace(cells=pyramid.cells.detach().requires_grad_(), position=pyramid.position.detach())
    memory = model.encoder(pyramid).detach().requires_grad_()
    with torch.no_grad():
        decoded = model(frames)
    decoded = dataclasses.replace(decoded, queries=decoded.queries.requires_grad_())
    drawn_on = model.mask_features(decoded).detach().requires_grad_()
    layers, b, queries = decoded.logits.shape[:3]
    layer, row, query = (torch.randint(0, size, (masks,)) for size in (layers, b, queries))

    return [
        ("backbone", lambda: model.backbone(images)),
        ("pyramid", lambda: [model.pyramid(features, frames.padding).cells]),
        ("encoder", lambda: [model.encoder(pyramid)]),
        ("decoder", lambda: model.decoder(memory, pyramid)),
        ("mask features", lambda: [model.mask_head.features(memory, pyramid.level_shapes)]),
        (f"{masks} masks", lambda: [model.mask_logits(decoded, drawn_on, layer, row, query)]),
    ]


def fastest(work: Callable[[], object], repeats: int) -> float:
    """ms of processor time of the quickest of `repeats` runs."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "r50"), default="tiny")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    tiny = options.model == "tiny"
    b, h, w = (16, 96, 128) if tiny else (1, 480, 864)
    torch.manual_seed(0)
    model = build_model(tiny_model() if tiny else ModelConfig()).eval()
    padding = torch.zeros(b, h, w, dtype=torch.bool)
    frames = FrameBatch(torch.randn(b, 3, h, w), padding, torch.tensor([h, w]).expand(b, 2))
    total = [0.0, 0.0]
    print(f"{'part':16s} {'forward':>10s} {'+ backward':>10s}   ms, {options.model}, {b} frames of {h}x{w}")
    for name, work in parts(model, frames, masks=600 if tiny else 60):

        def both(work: Callable[[], Iterable[Tensor]] = work) -> None:
            outputs = [x for x in work() if x.requires_grad]
            torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])

        with torch.no_grad():
            forward = fastest(work, options.repeats)
        times = (forward, fastest(both, options.repeats))
        total = [a + b for a, b in zip(total, times, strict=True)]
        print(f"{name:16s} {times[0]:10.1f} {times[1]:10.1f}")
    print(f"{'sum':16s} {total[0]:10.1f} {total[1]:10.1f}")


if __name__ == "__main__":
    main()
