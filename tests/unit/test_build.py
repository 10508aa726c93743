"""First values of new modules, what is frozen, and that sizes alone make a tiny model."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from idol_core.build import build_model
from idol_core.config import ModelConfig
from idol_core.model.attention import DeformableAttention
from idol_core.model.idol import IDOL
from tests.unit.tiny import RESNET, SWIN, tiny_config


@pytest.fixture(scope="module")
def model() -> IDOL:
    torch.manual_seed(0)
    return build_model(tiny_config(hidden_dim=128, heads=4))


def parameters(model: IDOL, prefix: str) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if name.startswith(prefix)}


def is_uniform(weight: Tensor, bound: float) -> bool:
    """Whether the values fill -bound..bound (rounded to float32) evenly."""
    weight = weight.detach()
    spread = float(weight.std()) / (bound / math.sqrt(3))
    return float(weight.abs().max()) <= bound * (1 + 1e-6) and abs(spread - 1) < 0.15


def is_xavier(weight: Tensor) -> bool:
    out, inputs = weight.shape[0], weight[0].numel()
    return is_uniform(weight, math.sqrt(6 / (inputs + out * weight[0, 0].numel())))


def test_transformer_layers_are_xavier(model: IDOL) -> None:
    for prefix in ("encoder.layers", "decoder.layers"):
        for name, p in parameters(model, prefix).items():
            if p.dim() > 1 and ".offsets." not in name and ".weights." not in name:
                assert is_xavier(p), name
            if name.endswith(("qkv.bias", "output.bias", "value.bias")):
                assert not p.any(), name
    assert is_xavier(model.decoder.layers[0].self_attention.qkv.weight)
    assert is_xavier(model.mask_head.controller.layers[2].weight)
    assert not any(layer.bias.any() for layer in (*model.mask_head.controller.layers, model.decoder.reference_head))
    bound = math.sqrt(6 / (128 + 2))
    assert float(model.decoder.reference_head.weight.abs().max()) <= bound * (1 + 1e-6)


def test_each_head_of_deformable_attention_looks_its_own_way(model: IDOL) -> None:
    found = [module for module in model.modules() if isinstance(module, DeformableAttention)]
    assert len(found) == 4
    for attention in found:
        bias = attention.offsets.bias.view(4, attention.levels, attention.points, 2)
        for head, (x, y) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):  # quarter turns
            for point in range(attention.points):
                expected = torch.tensor([x, y]) * (point + 1.0)
                torch.testing.assert_close(
                    bias[head, :, point], expected.expand(attention.levels, 2), atol=1e-6, rtol=0
                )
        for zero in (attention.offsets.weight, attention.weights.weight, attention.weights.bias):
            assert not zero.any()


def test_directions_reach_the_unit_square_for_eight_heads() -> None:
    attention = build_model(tiny_config(hidden_dim=64, heads=8)).encoder.layers[0].attention
    bias = attention.offsets.bias.view(8, attention.levels, attention.points, 2)
    torch.testing.assert_close(bias[1, 0, 0], torch.tensor([1.0, 1.0]))  # 45 degrees, its larger coordinate scaled to 1


def test_embeddings_are_standard_normal(model: IDOL) -> None:
    for embedding in (model.decoder.query_embedding, model.pyramid.level_embedding):
        assert abs(float(embedding.mean())) < 0.2
        assert abs(float(embedding.std()) - 1) < 0.15


def test_class_heads_start_at_probability_one_percent_and_box_heads_at_zero(model: IDOL) -> None:
    decoder = model.decoder
    for head in decoder.class_heads:
        torch.testing.assert_close(head.bias.sigmoid(), torch.full_like(head.bias, 0.01))
        assert torch.equal(head.weight, decoder.class_heads[0].weight)
        assert is_uniform(head.weight, 1 / math.sqrt(128))
    for i, head in enumerate(decoder.box_heads):
        assert torch.equal(head.layers[0].weight, decoder.box_heads[0].layers[0].weight)
        assert not head.layers[2].weight.any()
        assert head.layers[2].bias.tolist() == ([0, 0, -2, -2] if i == 0 else [0, 0, 0, 0])
    assert len({p.data_ptr() for p in decoder.parameters()}) == len(list(decoder.parameters()))  # equal, not shared


def test_projections_and_mask_head_convolutions(model: IDOL) -> None:
    for projection in model.pyramid.projections:
        assert is_xavier(projection.conv.weight)
        assert not projection.conv.bias.any()
        assert projection.norm.num_groups == 32
    convolutions = [module for module in model.mask_head.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [128, 128, 128, 32, 8]
    for conv in convolutions:
        assert is_uniform(conv.weight, math.sqrt(3 / conv.weight[0].numel()))  # Kaiming uniform, a = 1
        assert not conv.bias.any()


def test_embedding_head_keeps_the_default(model: IDOL) -> None:
    for layer in model.embed_head.layers:
        assert is_uniform(layer.weight, 1 / math.sqrt(128))
        assert layer.bias.any()
    assert build_model(tiny_config(embedding=False)).embed_head is None


def test_backbones_from_scratch() -> None:
    resnet = build_model(tiny_config(backbone=dataclasses.replace(RESNET, stem_channels=64))).backbone
    assert abs(float(resnet.stem.weight.std()) / math.sqrt(2 / (64 * 49)) - 1) < 0.1
    swin = build_model(tiny_config(backbone=dataclasses.replace(SWIN, embed_dim=32))).backbone
    qkv = swin.layers[0].blocks[0].attn.qkv
    assert abs(float(qkv.weight.std()) / 0.02 - 1) < 0.1
    assert not qkv.bias.any()


@pytest.mark.parametrize(
    ("freeze_at", "frozen"), [(0, ()), (1, ("stem",)), (2, ("stem", "res2")), (3, ("stem", "res2", "res3"))]
)
def test_frozen_stages(freeze_at: int, frozen: tuple[str, ...]) -> None:
    backbone = dataclasses.replace(RESNET, freeze_at=freeze_at)
    model = build_model(tiny_config(backbone=backbone)).train()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.requires_grad == (not name.startswith(frozen))


def test_the_same_seed_builds_the_same_weights() -> None:
    def build() -> dict[str, Tensor]:
        torch.manual_seed(3)
        return build_model(tiny_config()).state_dict()

    first, second = build(), build()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_sizes_that_do_not_fit_each_other_are_named() -> None:
    with pytest.raises(ValueError, match="dim 32 is not divisible by heads 5"):
        build_model(tiny_config(heads=5))
    with pytest.raises(ValueError, match="levels is 2, but the backbone gives 3 maps"):
        build_model(ModelConfig(backbone=RESNET, levels=2, hidden_dim=32, heads=2))
