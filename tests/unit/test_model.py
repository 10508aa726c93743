"""What the network promises beyond the recorded numbers: choosing masks, frames apart, padding, training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.build import build_model
from idol_core.model.idol import IDOL
from idol_core.structures import Decoded, FrameBatch
from tests.unit.tiny import SWIN, tiny_config


def random_model(**changes) -> IDOL:
    """Every parameter at random, so that nothing is hidden behind a zero."""
    torch.manual_seed(0)
    model = build_model(tiny_config(**changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    return model


def frames_of(*sizes: tuple[int, int], padded: tuple[int, int] = (64, 96)) -> FrameBatch:
    images = torch.zeros(len(sizes), 3, *padded)
    padding = torch.ones(len(sizes), *padded, dtype=torch.bool)
    for i, (h, w) in enumerate(sizes):
        images[i, :, :h, :w] = torch.randn(3, h, w)
        padding[i, :h, :w] = False
    return FrameBatch(images, padding, torch.tensor(sizes))


def mask_by_hand(model: IDOL, decoded: Decoded, features: Tensor, layer: int, row: int, query: int) -> Tensor:
    """One query's mask, from the definition: three 1x1 convolutions over (relative x, y, features), then enlarged."""
    m = model.mask_head.channels
    sizes = [(2 + m) * m, m * m, m, m, m, 1]
    w1, w2, w3, b1, b2, b3 = model.mask_head.controller(decoded.queries[layer, row, query]).split(sizes)
    height, width = decoded.sizes[row].tolist()
    x, y = decoded.references[layer, row, query].tolist()
    h, w = features.shape[2:]
    columns = x * width - (torch.arange(w) * 8 + 4.0)
    rows = y * height - (torch.arange(h) * 8 + 4.0)
    z = torch.cat((columns.expand(h, w)[None], rows[:, None].expand(h, w)[None], features[row]))[None]
    z = F.relu(F.conv2d(z, w1.view(m, 2 + m, 1, 1), b1))
    z = F.relu(F.conv2d(z, w2.view(m, m, 1, 1), b2))
    z = F.conv2d(z, w3.view(1, m, 1, 1), b3)
    z = F.interpolate(
        F.pad(z, (0, 1, 0, 1), mode="replicate"), (2 * h + 1, 2 * w + 1), mode="bilinear", align_corners=True
    )
    return F.pad(z, (1, 0, 1, 0), mode="replicate")[0, 0, : 2 * h, : 2 * w]


@torch.no_grad()
def test_masks_of_chosen_queries_of_any_layer_and_frame() -> None:
    model = random_model()
    decoded = model(frames_of((64, 96), (40, 50), (64, 31)))
    features = model.mask_features(decoded)
    assert features.shape == (3, 8, 8, 12)
    chosen = [(1, 2, 3), (0, 0, 19), (1, 0, 3), (0, 2, 0), (0, 0, 19)]
    layer, row, query = torch.tensor(chosen).unbind(1)
    masks = model.mask_logits(decoded, features, layer, row, query)
    assert masks.shape == (5, 16, 24)
    for mask, place in zip(masks, chosen, strict=True):
        torch.testing.assert_close(mask, mask_by_hand(model, decoded, features, *place), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_zero_queries_give_zero_masks() -> None:
    model = random_model()
    decoded = model(frames_of((64, 96)))
    nothing = torch.zeros(0, dtype=torch.int64)
    assert model.mask_logits(decoded, model.mask_features(decoded), nothing, nothing, nothing).shape == (0, 16, 24)


@pytest.mark.parametrize("backbone", [{}, {"backbone": SWIN}], ids=["resnet", "swin"])
@torch.no_grad()
def test_frames_do_not_see_each_other(backbone: dict) -> None:
    model = random_model(hidden_dim=64, **backbone)
    frames = frames_of((128, 160), (90, 120), (30, 160), (128, 64), padded=(128, 160))
    together = model(frames)
    for i in range(4):
        alone = model(FrameBatch(*(t[i : i + 1] for t in frames[:3])))
        part = together.frames(slice(i, i + 1))
        for name in ("queries", "logits", "boxes", "references", "memory", "sizes"):
            torch.testing.assert_close(getattr(part, name), getattr(alone, name), atol=1e-4, rtol=1e-4, msg=name)
        assert part.level_shapes == alone.level_shapes
    keys = together.frames(slice(0, None, 2))
    torch.testing.assert_close(model.mask_features(keys), model.mask_features(together)[0::2], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_frame_without_padding_gives_the_same_beside_a_padded_one() -> None:
    model = random_model()
    small, large = frames_of((50, 70)), frames_of((64, 96))
    both = FrameBatch(*(torch.cat(pair) for pair in zip(large[:3], small[:3], strict=True)))
    torch.testing.assert_close(model(both).logits[:, :1], model(large).logits, atol=1e-5, rtol=1e-5)


def test_shapes_and_ranges() -> None:
    model = random_model(levels=5)
    decoded = model(frames_of((64, 96), (33, 95)))
    assert decoded.queries.shape == (2, 2, 20, 32)
    assert decoded.logits.shape == (2, 2, 20, 5)
    assert decoded.boxes.shape == (2, 2, 20, 4)
    assert decoded.references.shape == (2, 2, 20, 2)
    assert decoded.level_shapes == ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))
    assert decoded.memory.shape == (2, 96 + 24 + 6 + 2 + 1, 32)
    for inside in (decoded.boxes, decoded.references):
        assert 0 <= float(inside.detach().min()) <= float(inside.detach().max()) <= 1
    torch.testing.assert_close(decoded.references[1], decoded.boxes[0, ..., :2])  # layer 1 starts from layer 0's boxes
    assert model.embed(decoded.queries[-1]).shape == (2, 20, 32)


def test_gradients_of_refined_boxes_stop_at_each_layer() -> None:
    """Boxes are refined step by step; only the first layer's start is learned through."""
    model = random_model(dropout=0.0).train()
    decoded = model(frames_of((64, 96)))
    first, second = (head.layers[2].bias for head in model.decoder.box_heads)
    decoded.boxes[1].sum().backward(retain_graph=True)
    assert first.grad is None or not first.grad.any()
    assert second.grad.any()
    before = model.decoder.reference_head.weight.grad.clone()  # through the places that layer 0 looked at
    decoded.boxes[0].sum().backward()
    assert first.grad.any()
    assert not torch.equal(model.decoder.reference_head.weight.grad, before)


def test_training_places_masks_where_the_clamped_references_are() -> None:
    """The mask head's points in training lie at least 1e-5 off the border, as the published models have it."""
    model = random_model(dropout=0.0)
    with torch.no_grad():
        model.decoder.reference_head.bias.fill_(-30.0)
    frames = frames_of((64, 96))
    assert float(model(frames).references[0].detach().max()) < 1e-9
    clamped = model.train()(frames).references[0].detach()
    torch.testing.assert_close(clamped, torch.full_like(clamped, 1e-5), rtol=1e-2, atol=0)


def test_dropout_only_in_training() -> None:
    model, frames = random_model(dropout=0.5), frames_of((64, 96))
    with torch.no_grad():
        assert torch.equal(model(frames).logits, model(frames).logits)
        assert not torch.equal(model.train()(frames).logits, model(frames).logits)


def test_step_1_has_no_embeddings() -> None:
    with pytest.raises(ValueError, match="no embedding head"):
        random_model(embedding=False).embed(torch.zeros(3, 32))


def test_stochastic_depth_drops_whole_samples() -> None:
    torch.manual_seed(0)
    swin = build_model(tiny_config(backbone=SWIN)).backbone.train()
    block = swin.layers[3].blocks[1]
    assert block.drop_path == pytest.approx(SWIN.drop_path)  # of the last block; it grows linearly from 0
    assert swin.layers[0].blocks[0].drop_path == 0.0
    dropped = block._drop(torch.ones(2000, 1, 1, 4))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    assert (dropped == dropped[..., :1]).all()
