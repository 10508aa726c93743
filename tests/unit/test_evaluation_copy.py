"""What evaluation runs is the network itself, prepared: the same numbers, and the network stays as it was."""

import pytest
import torch

from idol_core.backbones.resnet import FrozenBatchNorm
from idol_core.build import build_from, build_model
from idol_core.config import TrackerConfig
from idol_core.errors import IdolError
from idol_core.inference.prepare import evaluation_copy
from idol_core.inference.select import select_detections
from idol_core.ops.precision import arithmetic
from tests.unit.test_model import frames_of
from tests.unit.tiny import SWIN, tiny_config

CPU = torch.device("cpu")


def trained(**changes):
    """Random weights, and batch norms that do something."""
    torch.manual_seed(0)
    model = build_model(tiny_config(**changes))
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm):
            for buffer in (module.weight, module.bias, module.running_mean, module.running_var):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model


def outputs(model, frames):
    decoded = model(frames)
    return (decoded.queries, decoded.logits, decoded.boxes, decoded.memory, model.mask_features(decoded))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("backbone", [{}, {"backbone": SWIN}], ids=["resnet", "swin"])
@torch.inference_mode()
def test_the_copy_computes_the_same_bits(backbone, precision):
    model, frames = trained(**backbone).eval(), frames_of((64, 90), (50, 96))
    copy = evaluation_copy(model, CPU, precision)
    with arithmetic(CPU, precision):
        for ours, theirs in zip(outputs(copy, frames), outputs(model, frames), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("backbone", [{}, {"backbone": SWIN}], ids=["resnet", "swin"])
@torch.inference_mode()
def test_a_network_built_from_weights_computes_the_same_bits_and_trains_the_same_parts(backbone):
    model, frames = trained(**backbone).eval(), frames_of((64, 90), (50, 96))
    weights = model.state_dict()
    built = build_from(tiny_config(**backbone), weights).eval()
    assert all(part.data_ptr() == weights[name].data_ptr() for name, part in built.named_parameters())
    for ours, theirs in zip(outputs(built, frames), outputs(model, frames), strict=True):
        assert torch.equal(ours, theirs)
    trains = [{name: part.requires_grad for name, part in one.named_parameters()} for one in (built, model)]
    assert trains[0] == trains[1]


def test_weights_that_share_memory_or_have_another_dtype_get_memory_of_their_own():
    weights = trained().state_dict()
    heads = [name for name in weights if name.startswith("decoder.class_heads.") and name.endswith("bias")]
    weights[heads[1]] = weights[heads[0]]
    weights["decoder.query_embedding"] = weights["decoder.query_embedding"].double()
    weights["pyramid.level_embedding"] = torch.cat([weights["pyramid.level_embedding"]] * 2)[::2]
    built = build_from(tiny_config(), weights)
    places = [part.untyped_storage().data_ptr() for part in built.parameters()]
    assert len(places) == len(set(places))
    for name, part in built.state_dict().items():
        assert part.dtype == torch.float32
        assert part.untyped_storage().nbytes() == part.nbytes
        assert torch.equal(part, weights[name].float())


@torch.inference_mode()
def test_maps_beyond_the_range_of_float16_are_computed_in_fp16_nevertheless():
    model, frames = trained(levels=4).eval(), frames_of((64, 90), (50, 96))
    for stage in (model.backbone.res3, model.backbone.res4, model.backbone.res5):
        stage[0].conv3.norm.weight.mul_(100)
    assert model.backbone(frames.images)[-1].max() > 10 * torch.finfo(torch.float16).max
    copy = evaluation_copy(model, CPU, "fp16")
    with arithmetic(CPU, "fp16"):
        found = outputs(copy, frames)
    for ours, theirs in zip(found, outputs(model, frames), strict=True):
        assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()


def test_scores_that_are_not_finite_are_an_error():
    model, frames = trained().eval(), frames_of((64, 90))
    model.backbone.stem.norm.bias.fill_(torch.nan)
    with torch.inference_mode(), pytest.raises(IdolError, match="not finite"):
        select_detections(model, model(frames), TrackerConfig())


@torch.inference_mode()
def test_the_copy_folds_every_batch_norm_once():
    model = trained()
    copy = evaluation_copy(model, CPU)
    assert any(isinstance(module, FrozenBatchNorm) for module in model.modules())
    assert not any(isinstance(module, FrozenBatchNorm) for module in copy.modules())


def test_the_network_stays_as_it_was():
    model = trained().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    copy = evaluation_copy(model, CPU, "bf16")
    assert model.training
    assert not copy.training
    assert {name for name, p in model.named_parameters() if p.requires_grad} == learning
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@torch.inference_mode()
def test_training_further_does_not_reach_the_copy_and_a_new_copy_sees_it():
    model, frames = trained().eval(), frames_of((64, 90))
    copy = evaluation_copy(model, CPU)
    expected = copy(frames).logits
    model.backbone.stem.weight.mul_(1.5)
    assert torch.equal(copy(frames).logits, expected)
    assert torch.equal(evaluation_copy(model, CPU)(frames).logits, model(frames).logits)
    assert not torch.equal(model(frames).logits, expected)


@pytest.mark.parametrize("size", [(50, 70), (64, 96)], ids=["padded", "not padded"])
@torch.inference_mode()
def test_sizes_that_are_known_give_what_the_padding_gives(size):
    model = trained().eval()
    frames = frames_of(size, size)
    known = frames._replace(known_sizes=(size, size))
    for _ in range(2):  # the second time from what was kept
        for ours, theirs in zip(outputs(model, known), outputs(model, frames), strict=True):
            assert torch.equal(ours, theirs)


def test_float32_is_not_tf32_and_what_was_set_before_comes_back():
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [b.allow_tf32 for b in backends]
    for precision, allowed in (("float32", False), ("tf32", True), ("bf16", False)):
        with arithmetic(CPU, precision):
            assert [b.allow_tf32 for b in backends] == [allowed, allowed]
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
        assert [b.allow_tf32 for b in backends] == before
