"""What the network costs a CUDA device, counted without one: memory for the backward pass, operations, waits.

    python benchmarks/cuda_static.py                       # r50 and Swin-L, about a minute and a half
    python benchmarks/cuda_static.py --models r50 --json counts.json

Everything runs on fake tensors: shapes, dtypes and devices are real, values are not. Counted are

- the bytes that autograd keeps for the backward pass after the forward of 4 pairs of frames (each storage once, the
  parameters not);
- the operations that do work (views and allocations don't) in the forward of one frame, and the casts among them;
- waits: places where the host needs a value from the device before it can go on;
- graph breaks of torch.compile, on a small model of the same build.

Beside each count stands what it was when counting began, and the goal. Nothing is timed and no GPU is used: a count
says what is asked of the device, not how quickly it answers. Tests bound the counts (tests/unit/test_cuda_static.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from idol_core.build import assemble
from idol_core.config import InputConfig, LossConfig, ModelConfig, SwinConfig, TrackerConfig
from idol_core.inference.prepare import evaluation_copy
from idol_core.losses.criterion import Criterion
from idol_core.model.idol import IDOL
from idol_core.structures import Batch, FrameBatch, Targets

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
MODELS = {"r50": ModelConfig(), "swinl": ModelConfig(backbone=SwinConfig())}
DTYPES = {"float32": None, "bf16": torch.bfloat16}
GIB = 2**30

WORKLESS = {  # beside views: allocations, and questions that fake tensors ask
    aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided, aten._unsafe_view,
    aten.promote_types, torch.ops.prim.device,
}  # fmt: skip
CASTS = {aten._to_copy}
SELECTED = 10  # rows that an operation answers whose result depends on values: nonzero, NMS


class Operations(TorchDispatchMode):
    """Counts operations, and answers for the device where the host asks it for values.

    `counts` holds what does work, `waits` what the host waits for. Booleans are answered False, numbers 0; whoever asks
    how many gets `SELECTED`.
    """

    def __init__(self) -> None:
        super().__init__()
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
        on_device = first.device.type == "cuda"
        if packet is aten._local_scalar_dense:
            self.waits["item"] += on_device
            return False if first.dtype == torch.bool else first.dtype.is_floating_point * 1.0
        if packet is aten.nonzero:
            self.waits["nonzero"] += on_device
            return first.new_zeros(SELECTED, first.dim(), dtype=torch.int64)
        if func.name() == "torchvision::nms":
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


class FusedAttention(TorchFunctionMode):
    """Attention is one operation, as on a GPU; without one torch would choose its plain form."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args
        mask, dropout = kwargs.get("attn_mask"), kwargs.get("dropout_p", 0.0)
        if mask is not None:
            mask = mask.expand(*query.shape[:-1], key.shape[-2])
        return aten._scaled_dot_product_efficient_attention(
            query, key, value, mask, torch.is_grad_enabled(), dropout
        )[0]  # fmt: skip


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _leaves_device(packet: Any, args: Any, result: Any) -> bool:
    if packet is aten.copy_:
        return args[0].device.type == "cpu" and args[1].device.type == "cuda"
    source = args[0] if packet is aten._to_copy else None
    return source is not None and source.device.type == "cuda" and result.device.type == "cpu"


@contextmanager
def fake_cuda(precision: str = "float32") -> Iterator[None]:
    """Tensors made in here are fake; autocast to `precision` is on for CUDA, whether there is a GPU or not."""
    dtype = DTYPES[precision]
    with FakeTensorMode(allow_non_fake_inputs=True), FusedAttention():
        torch.set_autocast_enabled("cuda", dtype is not None)
        torch.set_autocast_dtype("cuda", dtype or torch.bfloat16)
        torch.autocast_increment_nesting()
        try:
            yield
        finally:
            if torch.autocast_decrement_nesting() == 0:
                torch.clear_autocast_cache()
            torch.set_autocast_enabled("cuda", False)


def shapes_of(config: ModelConfig) -> IDOL:
    """A network without values; within `fake_cuda`, `to_empty(device=CUDA)` puts it on the fake device."""
    with torch.device("meta"):
        return assemble(config)


def fake_frames(count: int, height: int, width: int) -> FrameBatch:
    """Frames on the fake device, padded by ten columns as those of 480x854 are."""
    images = torch.empty(count, 3, height, width, dtype=torch.uint8, device=CUDA)
    padding = torch.empty(count, height, width, dtype=torch.bool, device=CUDA)
    sizes = torch.empty(count, 2, dtype=torch.int64, device=CUDA)
    scale = InputConfig().pixel_mean, InputConfig().pixel_std
    return FrameBatch(images, padding, sizes, ((height, width - 10),) * count, scale)


def fake_batch(pairs: int, height: int, width: int, instances: int = 4) -> Batch:
    """Pairs of frames with their instances, on the fake device."""
    shape = (pairs, instances)
    masks = torch.empty(*shape, height // 4, width // 4, dtype=torch.bool, device=CUDA)
    targets = Targets(
        torch.empty(shape, dtype=torch.int64, device=CUDA), torch.empty(*shape, 4, device=CUDA), masks,
        torch.empty(shape, dtype=torch.bool, device=CUDA),
    )  # fmt: skip
    return Batch(fake_frames(2 * pairs, height, width), targets, targets, tuple(map(str, range(pairs))), True)


def kept_bytes(config: ModelConfig, height: int, width: int, *, precision: str, pairs: int = 4) -> int:
    """Bytes kept for the backward pass by a training forward of so many pairs of padded frames."""
    storages: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    model = shapes_of(config).train()
    with fake_cuda(precision):
        model.to_empty(device=CUDA)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(fake_frames(2 * pairs, height, width))
        for tensor in (*model.parameters(), *model.buffers()):
            storages.pop(tensor.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in storages.values())


def frame_operations(config: ModelConfig, height: int, width: int, *, precision: str) -> Operations:
    """The operations of the forward of one frame in evaluation, once everything is warm."""
    model = evaluation_copy(shapes_of(config), torch.device("meta"), precision)
    with fake_cuda(precision), torch.no_grad():
        model.to_empty(device=CUDA)
        frames = fake_frames(1, height, width)
        model(frames)
        torch.clear_autocast_cache()
        with Operations() as seen:
            model(frames)
    return seen


def training_waits(config: ModelConfig, height: int, width: int) -> Counter[str]:
    """What the host waits for in a training step whose losses are not read, on one process."""
    from idol_core.engine.optim import clip_gradients, skip_unless_finite

    model = shapes_of(config).train()
    with fake_cuda():
        model.to_empty(device=CUDA)
        batch = fake_batch(2, height, width)
        with Operations() as seen:
            Criterion(LossConfig())(model, model(batch.frames), batch)
            for parameter in model.parameters():  # autograd's backward asks for a real device, and never waits for it
                parameter.grad = torch.empty_like(parameter)
            skip_unless_finite([], clip_gradients(model, 0.01))
    return seen.waits


def frame_waits(config: ModelConfig, height: int, width: int, *, frames: int = 4) -> Counter[str]:
    """What the host waits for in one batch of evaluation: forward, selection, and all that tracking needs."""
    from idol_core.inference.select import pack, select_detections

    model = shapes_of(config).eval()
    with fake_cuda(), torch.no_grad():
        model.to_empty(device=CUDA)
        batch = fake_frames(frames, height, width)
        with Operations() as seen:
            found = select_detections(model, model(batch), TrackerConfig())
            pack(found, (height, width - 10), (720, 1280)).cpu()
    return seen.waits


def graph_breaks() -> int:
    """Graph breaks of the forward in evaluation under torch.compile, on a small model on the CPU."""
    import torch._dynamo

    from tests.unit.tiny import tiny_config

    torch.manual_seed(0)
    with torch.device("cpu"), torch.no_grad():
        model = assemble(tiny_config()).eval()
        padding = torch.zeros(1, 64, 96, dtype=torch.bool)
        frames = FrameBatch(torch.randn(1, 3, 64, 96), padding, torch.tensor([[64, 96]]))
        torch._dynamo.reset()
        return int(torch._dynamo.explain(model)(frames).graph_break_count)


class Row(NamedTuple):
    """A line of the table."""

    what: str
    model: str
    issue: str  # when counting began
    now: float
    goal: str


def rows(names: list[str]) -> Iterator[Row]:
    for name in names:
        config, r50 = MODELS[name], name == "r50"
        less = dataclasses.replace(config, checkpoint=True)
        for height, width in ((480, 864), (640, 1152)):
            small = height == 480
            for precision in DTYPES:
                kept = kept_bytes(config, height, width, precision=precision) / GIB
                before = {(True, "float32"): "16.6", (False, "float32"): "28.7"}.get((small, precision), "") * r50
                goal = {(True, "float32"): "10", (True, "bf16"): "6", (False, "float32"): "17"}
                yield Row(f"GiB kept for backward, 4 pairs {height}x{width}, {precision}", name, before, kept,
                          goal.get((small, precision), "") * r50)  # fmt: skip
                kept = kept_bytes(less, height, width, precision=precision) / GIB
                yield Row(f"  with model.checkpoint, {precision}", name, "", kept, "3.5" * (r50 and small))
        for precision in DTYPES:
            seen = frame_operations(config, 480, 864, precision=precision)
            before = {"float32": "1038", "bf16": "1312"}[precision] * r50
            yield Row(f"operations, one frame 480p, {precision}", name, before, seen.total, "550" * r50)
        yield Row("casts among them, bf16", name, "283" * r50, seen.casts, "50" * r50)
        yield Row("folding frozen batch norms", name, "318" * r50, seen.counts[aten.rsqrt], "0" * r50)
        yield Row("waits, a batch of 4 frames", name, "", frame_waits(config, 480, 864).total(), "2" * r50)
        yield Row("waits, a training step", name, "5" * r50, training_waits(config, 480, 864).total(), "2" * r50)
    yield Row("graph breaks under torch.compile", "tiny", "6", graph_breaks(), "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--json", type=Path, help="write the rows to this file as well")
    options = parser.parse_args()
    print(f"{'':58s} {'model':6s} {'issue':>8s} {'now':>8s} {'goal':>8s}")
    seen = []
    for row in rows(options.models):
        seen.append(row._asdict())
        now = f"{row.now:.2f}" if isinstance(row.now, float) else str(row.now)
        print(f"{row.what:58s} {row.model:6s} {row.issue:>8s} {now:>8s} {row.goal:>8s}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
