"""Devices that are not here: refused with the reason, and on fake tensors the network keeps to the one it is on."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from idol_core.config import InputConfig, TrackerConfig
from idol_core.engine.fake_cuda import Operations, shapes_of
from idol_core.errors import InvalidInput
from idol_core.inference.prepare import evaluation_copy
from idol_core.inference.select import select_detections
from idol_core.ops.devices import usable_device
from idol_core.ops.precision import arithmetic
from idol_core.structures import FrameBatch
from tests.unit.tiny import SWIN, tiny_config


@pytest.mark.parametrize("asked", ["gpu", "meta", "cuda:", "cuda:-1", "cuda:x", "mps:1", "cpu:1", "", "cuda:1\n"])
def test_what_is_no_device_is_refused(asked):
    with pytest.raises(InvalidInput, match="is no device") as caught:
        usable_device(asked)
    assert caught.value.fix == "cpu, cuda, cuda:N or mps"


def test_a_device_that_is_not_here_is_refused_with_the_reason():
    assert usable_device("cpu") == "cpu"
    assert usable_device(None) == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InvalidInput, match=r"no CUDA GPU|built without CUDA|there are \d+ GPUs"):
        usable_device("cuda:99")
    if not torch.backends.mps.is_available():
        with pytest.raises(InvalidInput, match=r"no Apple GPU|built without mps"):
            usable_device("mps")


class Seen(TorchDispatchMode):
    """Devices and dtypes of all results."""

    def __init__(self):
        super().__init__()
        self.made: set[tuple[torch.device, torch.dtype]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.made |= {(t.device, t.dtype) for t in tree_leaves(result) if isinstance(t, torch.Tensor)}
        return result


@pytest.mark.parametrize("backbone", [{}, {"backbone": SWIN}], ids=["resnet", "swin"])
def test_the_network_stays_on_the_second_gpu_and_makes_no_float64_which_apples_gpus_lack(backbone):
    device = torch.device("cuda:1")
    model = evaluation_copy(shapes_of(tiny_config(**backbone)), torch.device("meta"), "float32")
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), Seen() as seen, Operations():
        model.to_empty(device=device)
        frames = FrameBatch(
            torch.empty(1, 3, 64, 96, dtype=torch.uint8, device=device),
            torch.empty(1, 64, 96, dtype=torch.bool, device=device),
            torch.empty(1, 2, dtype=torch.int64, device=device),
            ((64, 90),),
            (InputConfig().pixel_mean, InputConfig().pixel_std),
        )
        with arithmetic(device, "float32"):
            decoded = model(frames)
            select_detections(model, decoded, TrackerConfig())
    places = {place for place, _ in seen.made if place.type != "cpu"}
    assert {(place.type, place.index or 0) for place in places} == {(device.type, device.index or 0)}
    assert torch.float64 not in {dtype for place, dtype in seen.made if place.type == device.type}
