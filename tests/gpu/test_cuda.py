"""A CUDA device gives the CPU's numbers: outputs, losses and gradients of a whole training step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import InputConfig, LossConfig, Precision, SolverConfig, TimmConfig
from idol_core.data.collate import collate_frames
from idol_core.engine.optim import clip_gradients, make_optimizers, skip_unless_finite
from idol_core.losses.contrastive import draw_order
from idol_core.losses.criterion import Criterion
from idol_core.model.attention import DeformableAttention
from idol_core.ops.pixels import normalized
from idol_core.structures import Batch, FrameBatch, Targets
from tests.unit.test_streaming import clip, segmenter
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


def step(device: str, **changes: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Class logits, losses and gradients by name, on the CPU."""
    torch.manual_seed(0)
    model = build_model(tiny_config(dropout=0.0, **changes))
    for module in model.modules():  # first offsets point to the lines between cells, where gradients jump
        if isinstance(module, DeformableAttention):
            torch.nn.init.uniform_(module.offsets.bias, -2, 2)
    model = model.to(device)
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


@pytest.mark.parametrize("backbone", ["tiny", "resnet10t", "vit_tiny_patch16_224"])
def test_a_training_step_gives_the_cpus_numbers(backbone: str) -> None:
    changes: dict[str, Any] = {}
    if backbone != "tiny":
        pytest.importorskip("timm", reason="timm is not installed")
        changes = {"backbone": TimmConfig(name=backbone)}
    (logits, losses, gradients), (expected, expected_losses, expected_gradients) = (
        step(device, **changes) for device in ("cuda", "cpu")
    )
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(losses, expected_losses, atol=1e-4, rtol=1e-4)
    assert gradients.keys() == expected_gradients.keys()
    rounding = 4e-6 * max(gradient.norm() for gradient in expected_gradients.values())  # of biases that a norm removes
    for name, gradient in gradients.items():
        assert (gradient - expected_gradients[name]).norm() <= 1e-2 * expected_gradients[name].norm() + rounding, name


def test_the_numbers_drawn_for_an_instance_do_not_depend_on_padding() -> None:
    device = torch.device("cuda")
    few, many = (draw_order(torch.Size((1, n, 300)), [torch.Generator(device).manual_seed(5)], device) for n in (3, 70))
    assert torch.equal(few, many[:, :3])


def test_frames_are_normalized_to_the_bit_on_the_device() -> None:
    images = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for h, w in ((64, 90), (50, 96))]
    frames = collate_frames(images, config=InputConfig())
    assert torch.equal(normalized(frames.to("cuda")).images.cpu(), normalized(frames).images)


def test_a_step_that_is_not_finite_is_skipped_without_asking_the_device() -> None:
    model = torch.nn.Linear(4, 4).cuda()
    before = model.weight.clone()
    for optimizer in ("adamw", "muon"):
        optimizers = make_optimizers(model, SolverConfig(optimizer=optimizer, lr=0.1))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("nan"))
        torch.cuda.set_sync_debug_mode("error")
        try:
            skip_unless_finite(optimizers, clip_gradients(model, 1.0))
            for each in optimizers:
                each.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(model.weight, before)


def test_tracking_beside_the_network_gives_what_tracking_after_it_gives() -> None:
    torch.manual_seed(0)
    seg = segmenter(device="cuda")
    frames = clip(9)
    beside, after = (list(seg.stream(frames, batch=2, overlap=overlap)) for overlap in (True, False))
    assert [one.track_ids.tolist() for one in beside] == [one.track_ids.tolist() for one in after]
    assert [one.counts for one in beside] == [one.counts for one in after]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_replayed_graphs_give_what_the_network_gives(precision: Precision, capsys: pytest.CaptureFixture[str]) -> None:
    frames = clip(9)
    replayed, plain = (
        list(segmenter(device="cuda", precision=precision, cuda_graphs=graphs).stream(frames, batch=2, overlap=True))
        for graphs in (True, False)
    )
    said = capsys.readouterr().err
    assert "recording a CUDA graph for 2 frames of" in said
    assert "warning" not in said
    assert [one.track_ids.tolist() for one in replayed] == [one.track_ids.tolist() for one in plain]
    for one, other in zip(replayed, plain, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-2 if precision == "bf16" else 1e-4)


def test_graphs_of_two_sizes_take_turns_in_the_same_memory() -> None:
    replayed, plain = (segmenter(device="cuda", cuda_graphs=graphs) for graphs in (True, False))
    frames = clip(12)
    for start, count in ((0, 2), (2, 1), (3, 2), (5, 1), (6, 2), (8, 1), (9, 2), (11, 1)):
        batch = frames[start : start + count]
        for one, other in zip(replayed.observe(batch), plain.observe(batch), strict=True):
            torch.testing.assert_close(one.detections.scores, other.detections.scores, atol=1e-4, rtol=0)
            torch.testing.assert_close(one.detections.embeddings, other.detections.embeddings, atol=1e-3, rtol=0)
