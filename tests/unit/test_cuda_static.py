"""What the network asks of a CUDA device is bounded, and no step mixes devices; on fake tensors, so without a GPU.

The bounds are the goals; `python benchmarks/cuda_static.py` prints where the counts stand.
"""

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from benchmarks.cuda_static import (
    CUDA,
    GIB,
    MODELS,
    aten,
    fake_cuda,
    fake_frames,
    frame_operations,
    frame_waits,
    kept_bytes,
    shapes_of,
    training_operations,
    training_waits,
)  # fmt: skip
from idol_core.build import build_model
from idol_core.inference.prepare import evaluation_copy
from idol_core.ops.deform_attn_triton import HAS_TRITON
from tests.unit.test_model import frames_of
from tests.unit.tiny import SWIN, tiny_config

R50 = MODELS["r50"]
fused = pytest.mark.skipif(not HAS_TRITON, reason="no Triton here: deformable attention is not one operation")


@fused
@pytest.mark.parametrize(
    ("precision", "checkpoint", "most"), [("float32", False, 10), ("bf16", False, 6), ("float32", True, 3.5)]
)
def test_training_keeps_no_more_for_the_backward_pass(precision, checkpoint, most):
    config = dataclasses.replace(R50, checkpoint=checkpoint)
    assert kept_bytes(config, 480, 864, precision=precision) <= most * GIB


@fused
def test_a_frame_takes_no_more_operations_and_no_batch_norm_is_folded_again():
    full, half = (frame_operations(R50, 480, 864, precision=precision) for precision in ("float32", "bf16"))
    assert full.total <= 480
    assert half.total <= 520
    assert half.casts <= 42
    assert not full.counts[aten.rsqrt]


@fused
def test_a_training_step_takes_no_more_operations_and_casts_no_weight_where_it_is_used():
    parts = training_operations(R50, 480, 768, precision="bf16")
    assert sum(seen.total for seen in parts.values()) <= 2290
    assert parts["forward"].casts <= 45
    assert not parts["forward"].counts[aten.rsqrt]


def test_swin_pads_nothing_that_is_whole_and_copies_maps_only_into_windows_and_back():
    seen = frame_operations(tiny_config(backbone=SWIN), 128, 128, precision="float32")
    rest = frame_operations(tiny_config(), 128, 128, precision="float32")  # the same transformer and heads
    assert not seen.counts[aten.constant_pad_nd]
    assert seen.counts[aten.clone] - rest.counts[aten.clone] <= 2 * sum(SWIN.depths)


def test_evaluation_waits_for_a_device_twice_a_batch_and_mixes_no_devices():
    waits = frame_waits(tiny_config(), 64, 96)
    assert +waits == {"copy to the host": 2}


def test_a_training_step_waits_for_a_device_for_one_round_and_its_matches_and_mixes_no_devices():
    waits = training_waits(tiny_config(), 64, 96)
    assert +waits == {"copy to the host": 1, "nonzero": 1}


def test_devices_that_are_mixed_up_are_noticed():
    model = shapes_of(tiny_config())
    with fake_cuda():
        model.to_empty(device=CUDA)
        frames = fake_frames(1, 64, 96)
        assert isinstance(model(frames).logits, FakeTensor)
        with pytest.raises(RuntimeError, match="device"):
            model(frames._replace(images=torch.zeros(1, 3, 64, 96)))


@torch.no_grad()
def test_the_forward_is_one_graph():
    torch.manual_seed(0)
    swin = dataclasses.replace(SWIN, depths=(2, 1, 1, 1))  # of the first two blocks one shifts its windows
    model = evaluation_copy(build_model(tiny_config(backbone=swin, encoder_layers=1)), torch.device("cpu"))
    frames = frames_of((64, 90))._replace(known_sizes=((64, 90),))
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")(frames)
    expected = model(frames)
    assert torch.equal(compiled.logits, expected.logits)
    assert torch.equal(compiled.memory, expected.memory)


@torch.no_grad()
def test_the_forward_of_a_resnet_is_one_graph():
    torch.manual_seed(0)
    backbone = evaluation_copy(build_model(tiny_config()), torch.device("cpu")).backbone
    images = frames_of((64, 90)).images
    torch._dynamo.reset()
    compiled = torch.compile(backbone, fullgraph=True, backend="eager")(images)
    assert all(torch.equal(a, b) for a, b in zip(compiled, backbone(images), strict=True))


def test_the_forward_is_one_graph_in_training():
    torch.manual_seed(0)
    model = build_model(tiny_config(dropout=0.0, encoder_layers=1)).train()
    torch._dynamo.reset()
    frames = frames_of((64, 90), (50, 96))
    compiled = torch.compile(model, fullgraph=True, backend="eager")(frames)
    assert torch.equal(compiled.logits, model(frames).logits)
