"""The objective on a small network: what divides the losses, what is left out, what draws numbers, what is finite."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idol_core.build import build_model
from idol_core.config import LossConfig, ModelConfig, ResNetConfig
from idol_core.losses.criterion import Criterion
from idol_core.model.idol import IDOL
from idol_core.structures import Batch, Decoded, FrameBatch, Targets

SMALL = ModelConfig(
    backbone=ResNetConfig(blocks=(1, 1, 1, 1), stem_channels=8, bottleneck_channels=4, out_channels=16, freeze_at=0),
    num_classes=3, hidden_dim=32, heads=4, encoder_layers=1, decoder_layers=2, feedforward_dim=32, queries=40,
    dropout=0.0,
)  # fmt: skip
SIDE = 64
CRITERION = Criterion(LossConfig())


@pytest.fixture(scope="module")
def model() -> IDOL:
    torch.manual_seed(0)
    return build_model(SMALL)


def make_batch(counts: list[int], *, absent: int = 0, spare: int = 0) -> Batch:
    """A pair for each number of instances; the first `absent` instances of every pair are not in the reference."""
    pairs, most = len(counts), max(counts) + spare
    rng = torch.Generator().manual_seed(1)
    valid = torch.arange(most) < torch.tensor(counts)[:, None]
    everything = torch.rand(pairs, 16, 4, generator=rng), torch.rand(pairs, 16, SIDE // 4, SIDE // 4, generator=rng)
    boxes, masks = (values[:, :most] for values in everything)
    boxes = torch.cat((0.2 + 0.6 * boxes[..., :2], 0.1 + 0.3 * boxes[..., 2:]), -1) * valid[..., None]
    labels = torch.arange(most).remainder(SMALL.num_classes).expand(pairs, -1) * valid
    key = Targets(labels, boxes, (masks > 0.5) & valid[..., None, None], valid)
    in_ref = valid & (torch.arange(most) >= absent)
    ref = Targets(labels * in_ref, boxes * in_ref[..., None], key.masks & in_ref[..., None, None], in_ref)
    images = torch.rand(2 * pairs, 3, SIDE, SIDE, generator=rng)
    sizes = torch.full((2 * pairs, 2), SIDE)
    frames = FrameBatch(images, torch.zeros(2 * pairs, SIDE, SIDE, dtype=torch.bool), sizes)
    return Batch(frames, key, ref, tuple(f"pair {i}" for i in range(pairs)))


def part(batch: Batch, pair: int) -> Batch:
    key, ref = (Targets(*(field[pair : pair + 1] for field in side)) for side in (batch.key, batch.ref))
    frames = FrameBatch(*(field[2 * pair : 2 * pair + 2] for field in batch.frames[:3]))
    return Batch(frames, key, ref, batch.sample_ids[pair : pair + 1])


def objective(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def test_parts_of_a_batch_with_its_normalizer_add_up_to_the_batch(model):
    batch = make_batch([3, 1, 0], absent=1)
    seen: list[Tensor] = []

    def remember(counts: Tensor) -> Tensor:
        seen.append(counts)
        return counts

    whole = CRITERION(model, model(batch.frames), batch, total_matches=remember)
    assert [counts.shape for counts in seen] == [(SMALL.decoder_layers + 1,)]
    assert seen[0][-1] == 2  # one of the first pair's three instances and the second pair's only one are not in ref
    total = {name: torch.zeros(()) for name in whole}
    for pair in range(3):
        piece = part(batch, pair)
        for name, loss in CRITERION(model, model(piece.frames), piece, total_matches=lambda _: seen[0]).items():
            total[name] = total[name] + loss
    for name, loss in whole.items():
        torch.testing.assert_close(total[name], loss, rtol=1e-4, atol=1e-5, msg=name)


def test_padding_rows_change_nothing(model):
    decoded = model(make_batch([3, 1]).frames)
    plain, padded = (CRITERION(model, decoded, make_batch([3, 1], spare=spare)) for spare in (0, 4))
    for name, loss in plain.items():
        torch.testing.assert_close(padded[name], loss, rtol=1e-5, atol=1e-6, msg=name)


def test_images_alone_have_the_detection_losses_of_key_frames(model):
    pairs = make_batch([3, 1])
    images = Batch(FrameBatch(*(field[::2] for field in pairs.frames[:3])), pairs.key, None, pairs.sample_ids)
    of_pairs, of_images = (CRITERION(model, model(batch.frames), batch) for batch in (pairs, images))
    assert of_pairs.keys() - of_images.keys() == {"loss_reid", "loss_reid_aux"}
    for name, loss in of_images.items():
        torch.testing.assert_close(loss, of_pairs[name], rtol=1e-4, atol=1e-5, msg=name)


def test_without_deep_supervision_only_the_last_layer_counts(model):
    batch = make_batch([2])
    decoded = model(batch.frames)
    deep = CRITERION(model, decoded, batch)
    last = Criterion(LossConfig(deep_supervision=False))(model, decoded, batch)
    assert last == {name: loss for name, loss in deep.items() if not name.endswith("_0")}


@pytest.mark.parametrize("batch", [make_batch([0, 0]), make_batch([0], spare=2)], ids=["no rows", "padding only"])
def test_batch_without_instances(model, batch):
    """Only the class loss counts; masks and boxes get zero gradients, dynamic filters and embedding none."""
    model.zero_grad(set_to_none=True)
    losses = CRITERION(model, model(batch.frames), batch, generator=torch.Generator())
    objective(losses).backward()
    for name, loss in losses.items():
        assert (loss > 0) == name.startswith("loss_ce"), name
    assert model.decoder.class_heads[-1].weight.grad.abs().sum() > 0
    assert model.decoder.box_heads[-1].layers[-1].weight.grad.abs().sum() == 0
    assert model.mask_head.final.weight.grad.abs().sum() == 0
    for head in (model.mask_head.controller, model.embed_head):
        assert all(parameter.grad is None for parameter in head.parameters())


def test_instances_only_in_key_train_detection_but_no_embedding(model):
    batch = make_batch([2, 1], absent=2)
    model.zero_grad(set_to_none=True)
    losses = CRITERION(model, model(batch.frames), batch, generator=torch.Generator())
    objective(losses).backward()
    assert losses["loss_reid"] == losses["loss_reid_aux"] == 0
    assert losses["loss_mask"] > 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert all(parameter.grad is None for parameter in model.embed_head.parameters())


def test_random_negatives_come_from_the_given_generators_alone(model):
    batch = make_batch([3, 2])
    decoded = model(batch.frames)

    def auxiliary(generator, rows: Batch = batch, frames: Decoded = decoded) -> Tensor:
        return CRITERION(model, frames, rows, generator=generator)["loss_reid_aux"]

    state = torch.get_rng_state()
    one, again, other = (auxiliary(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert one == again
    assert one != other
    assert torch.equal(torch.get_rng_state(), state)

    def by_pair(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    # One generator a pair: a pair's share is the same whichever batch it is in.
    alone = [auxiliary(by_pair(s), part(batch, i), model(part(batch, i).frames)) for i, s in enumerate((7, 8))]
    torch.testing.assert_close(auxiliary(by_pair(7, 8)), (3 * alone[0] + 2 * alone[1]) / 5, rtol=1e-4, atol=1e-6)


def test_losses_are_float32_under_autocast(model):
    batch = make_batch([3, 1])
    decoded = model(batch.frames)
    full = CRITERION(model, decoded, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halved = CRITERION(model, decoded, batch)
    for name, loss in halved.items():
        assert loss.dtype == torch.float32, name
        torch.testing.assert_close(loss, full[name], rtol=0.05, atol=0.01, msg=name)


def test_a_diverged_network_shows_in_the_losses(model):
    batch = make_batch([2])
    decoded = model(batch.frames)
    broken = Decoded(**{**vars(decoded), "logits": decoded.logits * float("nan")})
    assert objective(CRITERION(model, broken, batch)).isnan()
