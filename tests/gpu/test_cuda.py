"""A CUDA device gives the CPU's numbers: outputs, losses and gradients of a whole training step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import LossConfig
from idol_core.losses.criterion import Criterion
from idol_core.structures import Batch, FrameBatch, Targets
from tests.unit.tiny import tiny_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def pair() -> Batch:
    """Two key-reference pairs of 64x96 frames, one padded at the right, with an object each."""
    generator = torch.Generator().manual_seed(0)
    padding = torch.zeros(4, 64, 96, dtype=torch.bool)
    padding[2:, :, 80:] = True
    sizes = torch.tensor([[64, 96], [64, 96], [64, 80], [64, 80]])
    masks = torch.zeros(2, 1, 16, 24, dtype=torch.bool)
    masks[..., 4:12, 6:16] = True
    boxes = torch.tensor([[[0.46, 0.5, 0.42, 0.5]], [[0.55, 0.5, 0.5, 0.5]]])
    targets = Targets(torch.tensor([[1], [3]]), boxes, masks, torch.ones(2, 1, dtype=torch.bool))
    images = torch.randn(4, 3, 64, 96, generator=generator).masked_fill(padding[:, None], 0)
    return Batch(FrameBatch(images, padding, sizes), targets, targets, ("a", "b"))


def step(device: str) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Class logits, losses and gradients by name, on the CPU."""
    torch.manual_seed(0)
    model = build_model(tiny_config(dropout=0.0)).to(device)
    batch = pair().to(torch.device(device))
    decoded = model(batch.frames)
    losses = Criterion(LossConfig())(model, decoded, batch)
    sum(losses.values()).backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return decoded.logits.detach().cpu(), {name: value.detach().cpu() for name, value in losses.items()}, gradients


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """No TF32 while a test runs."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_a_training_step_gives_the_cpus_numbers() -> None:
    (logits, losses, gradients), (expected, expected_losses, expected_gradients) = step("cuda"), step("cpu")
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(losses, expected_losses, atol=1e-4, rtol=1e-4)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert (gradient - expected_gradients[name]).norm() <= 1e-2 * expected_gradients[name].norm() + 1e-6, name
