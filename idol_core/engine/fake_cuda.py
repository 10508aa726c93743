"""A CUDA device of fake tensors: shapes, dtypes and devices are real, values are not, and no GPU is needed.

With it, what training asks of a GPU is counted on any machine: bytes, operations, and what the host waits for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from idol_core.build import assemble
from idol_core.config import InputConfig, ModelConfig, Precision
from idol_core.model.idol import IDOL
from idol_core.ops.precision import HALVES
from idol_core.structures import Batch, FrameBatch, Targets

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)

WORKLESS = {  # beside views: allocations, and questions that fake tensors ask
    aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided, aten._unsafe_view,
    aten.promote_types, torch.ops.prim.device,
}  # fmt: skip
CASTS = {aten._to_copy}
SELECTED = 10  # rows that an operation answers whose result depends on values: nonzero, NMS


class Operations(TorchDispatchMode):
    """Counts operations, and answers for the device where the host asks it for values.

    `counts` holds what does work, `waits` what the host waits for. Booleans are answered False, numbers 0; `nonzero`
    finds `selected` rows.
    """

    def __init__(self, *, selected: int = SELECTED, device: torch.device = CUDA) -> None:
        super().__init__()
        self._selected, self._kind = selected, device.type
        self.counts: Counter[Any] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if (answer := self._answer(func, packet, args)) is not None:
            return answer
        result = func(*args, **kwargs)
        if _leaves_device(packet, args, result):
            self.waits["copy to the host"] += 1
        elif not _is_view(func) and packet not in WORKLESS:
            self.counts[packet] += 1
        return result

    def _answer(self, func: Any, packet: Any, args: Any) -> Any:
        first = next((a for a in args if isinstance(a, Tensor)), None)
        if first is None:
            return None
        on_device = first.device.type == self._kind
        if packet is aten._local_scalar_dense:
            self.waits["item"] += on_device
            return False if first.dtype == torch.bool else first.dtype.is_floating_point * 1.0
        if packet is aten.nonzero:
            self.waits["nonzero"] += on_device
            return first.new_zeros(self._selected, first.dim(), dtype=torch.int64)
        if packet is torch.ops.idol.box_nms:
            self.waits["nms"] += on_device
            return first.new_zeros(min(SELECTED, first.shape[0]), dtype=torch.int64)
        if func is aten.repeat_interleave.Tensor:
            self.waits["repeat_interleave"] += on_device
            return first.new_zeros(SELECTED * first.shape[0], dtype=torch.int64)
        return None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def casts(self) -> int:
        return sum(self.counts[packet] for packet in CASTS)


class FusedOnGPU(TorchFunctionMode):
    """Attention and dropout are one operation each, as on a GPU; without one torch would choose their plain forms."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = args
        mask, dropout = kwargs.get("attn_mask"), kwargs.get("dropout_p", 0.0)
        if mask is not None:
            mask = mask.expand(*query.shape[:-1], key.shape[-2])
        return aten._scaled_dot_product_efficient_attention(
            query, key, value, mask, torch.is_grad_enabled(), dropout
        )[0]  # fmt: skip


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return torch.native_dropout(x, p, training)[0] if training and p else x


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _leaves_device(packet: Any, args: Any, result: Any) -> bool:
    if packet is aten.copy_:
        return args[0].device.type == "cpu" and args[1].device.type == "cuda"
    source = args[0] if packet is aten._to_copy else None
    return source is not None and source.device.type == "cuda" and result.device.type == "cpu"


@contextmanager
def fake_cuda(precision: Precision = "float32", *, device: torch.device = CUDA) -> Iterator[None]:
    """Tensors made in here are fake; autocast to `precision` is on for `device`, whether there is a GPU or not.

    `device` may be the CPU, for what autograd refuses to do without a GPU: the backward pass.
    """
    dtype, kind = HALVES.get(precision), device.type
    with FakeTensorMode(allow_non_fake_inputs=True), FusedOnGPU():
        torch.set_autocast_enabled(kind, dtype is not None)
        torch.set_autocast_dtype(kind, dtype or torch.bfloat16)
        torch.autocast_increment_nesting()
        try:
            yield
        finally:
            if torch.autocast_decrement_nesting() == 0:
                torch.clear_autocast_cache()
            torch.set_autocast_enabled(kind, False)


def shapes_of(config: ModelConfig) -> IDOL:
    """A network without values; within `fake_cuda`, `to_empty(device=CUDA)` puts it on the fake device."""
    with torch.device("meta"):
        return assemble(config)


def fake_frames(count: int, height: int, width: int, device: torch.device = CUDA) -> FrameBatch:
    """Frames on the fake device, padded by ten columns as those of 480x854 are."""
    images = torch.empty(count, 3, height, width, dtype=torch.uint8, device=device)
    padding = torch.empty(count, height, width, dtype=torch.bool, device=device)
    sizes = torch.empty(count, 2, dtype=torch.int64, device=device)
    scale = InputConfig().pixel_mean, InputConfig().pixel_std
    return FrameBatch(images, padding, sizes, ((height, width - 10),) * count, scale)


def fake_batch(pairs: int, height: int, width: int, instances: int = 4, device: torch.device = CUDA) -> Batch:
    """Pairs of frames with their instances, on the fake device."""
    shape = (pairs, instances)
    masks = torch.empty(*shape, height // 4, width // 4, dtype=torch.bool, device=device)
    targets = Targets(
        torch.empty(shape, dtype=torch.int64, device=device), torch.empty(*shape, 4, device=device), masks,
        torch.empty(shape, dtype=torch.bool, device=device),
    )  # fmt: skip
    frames = fake_frames(2 * pairs, height, width, device)
    return Batch(frames, targets, targets, tuple(map(str, range(pairs))), True)


@dataclass
class Saved:
    """Storages that autograd saved for the backward pass, each once."""

    storages: dict[int, torch.UntypedStorage] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


@contextmanager
def saved_storages(model: nn.Module) -> Iterator[Saved]:
    """Collect what autograd saves in here for the backward pass, without the parameters and buffers of `model`."""
    saved = Saved()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved.storages[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield saved
    for tensor in (*model.parameters(), *model.buffers()):
        saved.storages.pop(tensor.untyped_storage()._cdata, None)
