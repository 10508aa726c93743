"""A training step: forward, matching, losses, backward, clipping, optimizer, on random pairs of frames."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from idol_core.config import InputConfig, LossConfig, ModelConfig, Precision, SolverConfig
from idol_core.engine.optim import clip_gradients, make_optimizers, skip_unless_finite
from idol_core.engine.step_weights import step_weights
from idol_core.losses.criterion import Criterion
from idol_core.model.idol import IDOL
from idol_core.ops.precision import arithmetic
from idol_core.structures import Batch, FrameBatch, Targets
from idolctl.bench import clock
from idolctl.bench.machine import Machine
from idolctl.bench.row import Row

CLASSES = ModelConfig().num_classes


def training_row(
    machine: Machine, name: str, model: IDOL, size: tuple[int, int], pairs: int, precision: Precision, budget: float
) -> Row:
    """Pairs a second, without loading and decoding images. `model` is trained: its weights change."""
    device = machine.device
    with clock.peak_memory(device) as peak:
        model = model.to(device).train()
        optimizers = make_optimizers(model, SolverConfig(lr=1e-6))
        criterion = Criterion(LossConfig())
        batch = random_pairs(pairs, size, CLASSES).to(device)
        generators = [torch.Generator(device).manual_seed(i) for i in range(pairs)]

        def step() -> None:
            with step_weights(model, precision):
                with arithmetic(device, precision):
                    losses = criterion(model, model(batch.frames), batch, generator=generators)
                torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            skip_unless_finite(optimizers, clip_gradients(model, 0.01))
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad(set_to_none=True)

        with FlopCounterMode(display=False) as counted:
            step()
        taken = clock.seconds(step, device, budget, done=1)
        what = f"{name}, {pairs} pair{'s' * (pairs > 1)} of {size[0]}x{size[1]}, {precision}"
        share = counted.get_total_flops() / taken / machine.rates[precision]
        return Row("training", what, pairs / taken, "pairs/s", peak(), share)


def random_pairs(pairs: int, size: tuple[int, int], classes: int, *, instances: int = 4, seed: int = 0) -> Batch:
    """Random frames, with boxes filled as masks: what a step costs without its data. Sides are multiples of 32."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2 * pairs, 3, height, width), dtype=torch.uint8, generator=generator)
    padding = torch.zeros(2 * pairs, height, width, dtype=torch.bool)
    sizes = torch.tensor([height, width]).expand(2 * pairs, 2)
    centre = torch.rand(2 * pairs, instances, 2, generator=generator) * 0.6 + 0.2
    extent = torch.rand(2 * pairs, instances, 2, generator=generator) * 0.2 + 0.1
    x, y = (torch.arange(2, side, 4) / side for side in (width, height))
    near_x, near_y = ((axis - centre[..., i, None]).abs() < extent[..., i, None] / 2 for i, axis in enumerate((x, y)))
    labels = torch.randint(classes, (pairs, instances), generator=generator).repeat_interleave(2, 0)
    valid = torch.ones(2 * pairs, instances, dtype=torch.bool)
    masks = near_y[..., :, None] & near_x[..., None, :]
    everything = Targets(labels, torch.cat((centre, extent), -1), masks, valid)
    key, ref = (Targets(*(t[i::2] for t in everything)) for i in (0, 1))
    scale = InputConfig().pixel_mean, InputConfig().pixel_std
    frames = FrameBatch(images, padding, sizes, (size,) * (2 * pairs), scale)
    return Batch(frames, key, ref, tuple(map(str, range(pairs))), True)
