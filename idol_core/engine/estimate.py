"""Memory and time of a stage before it runs: from a few real steps on this device, or counted for a GPU elsewhere.

All steps are of one process. Memory is that of frames of the largest size that the settings allow, with as many objects
as a video of the training set has on average; it is linear in the items (images, pairs or clips) of a micro-batch.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from idol_core.build import build_model
from idol_core.config import InputConfig, StageConfig
from idol_core.data.collate import STRIDE
from idol_core.data.dataset import Dataset
from idol_core.data.loader import MicroBatches
from idol_core.data.sampler import MicroBatch, per_process
from idol_core.data.transforms import short_side_size
from idol_core.engine.average import Average
from idol_core.engine.fake_cuda import CUDA, Operations, fake_cuda, saved_storages, shapes_of
from idol_core.engine.objective import Objective
from idol_core.engine.optim import clip_gradients, full_state, make_optimizers, set_lr
from idol_core.engine.step_weights import step_weights
from idol_core.losses.criterion import Criterion
from idol_core.losses.simota import CANDIDATES
from idol_core.ops.precision import arithmetic, tf32
from idol_core.structures import Batch, FrameBatch, Targets
from idol_core.system.cpu import keep_freed_memory, return_freed_memory

SPARE = 0.1  # share of the memory left free: allocators cut it into pieces, and libraries take some
OBJECTS = 5  # of a clip, where the training set is not here
SIZE = (720, 1280)  # of its frames, likewise


class Content(NamedTuple):
    """What the largest micro-batches hold: padded frames (pixels), and objects of an item."""

    height: int
    width: int
    objects: int


class Memory(NamedTuple):
    """Peak memory of training in bytes: `fixed`, and `each` more for every item of a micro-batch."""

    fixed: float
    each: float

    def of(self, items: int) -> float:
        """Bytes with micro-batches of so many items."""
        return self.fixed + items * self.each

    def most(self, available: float) -> int:
        """Items of the largest micro-batch that fits while `SPARE` stays free; 0 if none does."""
        return max(0, math.floor((available * (1 - SPARE) - self.fixed) / self.each))


class Time(NamedTuple):
    """Seconds of an iteration: computing, and loading by one loader process, and peak memory meanwhile in bytes.

    `loading` and `peak` are None where the data is not here.
    """

    computing: float
    loading: float | None
    peak: int | None
    workers: int

    @property
    def iteration(self) -> float:
        """Seconds of an iteration, with loading beside computing where there are loader processes."""
        loading = self.loading or 0.0
        return max(self.computing, loading / self.workers) if self.workers else self.computing + loading


def micro_batch_of(config: StageConfig) -> tuple[int, int]:
    """Number of micro-batches of an iteration, and items of each. Raises InvalidInput if the batch doesn't divide."""
    parts = per_process(config.solver, 1)
    return parts, config.solver.batch_size // parts


def frames_of(config: StageConfig) -> int:
    """Frames of a training item: an image, a pair or a clip."""
    return 1 if config.step == 1 else config.input.clip_frames


def content_of(config: StageConfig, dataset: Dataset | None, mixed: Dataset | None = None) -> Content:
    """The largest frames that augmentation and padding make of the sets', and the training set's mean number of
    objects."""
    height, width = _largest(config.input, {SIZE} if dataset is None else _sizes(dataset))
    if mixed is not None:
        image = _largest(replace(config.input, crop=config.data.mix.crop), _sizes(mixed))
        height, width = max(height, image[0]), max(width, image[1])
    tracks = OBJECTS if dataset is None else math.ceil(len(dataset.index.track_ids) / len(dataset.index.video_ids))
    return Content(height, width, max(tracks, 1))


def _sizes(dataset: Dataset) -> set[tuple[int, int]]:
    return set(map(tuple, dataset.index.video_sizes.tolist()))


def count_memory(config: StageConfig, content: Content) -> Memory:
    """Bytes on a CUDA device, counted on fake tensors: weights, gradients, optimizer, and what autograd saves.

    Not counted are workspaces of single operations and the CUDA context. Every object is taken to match as many queries
    as it can, so that its masks count in full.
    """
    saved = [_saved_bytes(config, content, items) for items in (1, 2)]
    each = saved[1] - saved[0]
    model = shapes_of(config.model)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    gradients = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    states = [state for optimizer in make_optimizers(model, config.solver) for state in _states(optimizer)]
    averaged = weights if config.solver.ema else 0
    return Memory(weights + averaged + gradients + sum(tensor.nbytes for tensor in states) + saved[0] - each, each)


def measure(
    config: StageConfig,
    dataset: Dataset | None,
    content: Content,
    device: torch.device,
    *,
    steps: int,
    say: Callable[[str], None],
    mixed: Dataset | None = None,
) -> tuple[Memory, Time]:
    """Take real steps with a new model: on random frames of the largest size for memory, on the data for time.

    `steps` micro-batches of the data are timed, after one that is not; each counts as a part of an iteration. Without
    the data, time is that of the random frames, the longest that it can be. `say` hears of progress; `mixed` are the
    images of data.mix.

    An item's share of memory is what two items take more than one at the peak, or what autograd saves for one, if that
    is more: peaks of a small model on a CPU are rough.
    """
    if device.type == "cpu":  # as in training
        keep_freed_memory()
    torch.manual_seed(config.solver.seed)
    trial = _Steps(config, device)
    saved, peaks, seconds = [], [], []
    for items in (1, 2):
        say(f"step {config.step}: {items} x {content.height}x{content.width} on {device}")
        batch = random_batch(config, content, items, device)
        saved.append(trial.saved_bytes(batch))
        trial.forward_backward(batch)
        updating = trial.update()  # from here on the optimizer has its state
        _reset_peak(device)
        trial.forward_backward(batch)
        peaks.append(_peak(device))
        seconds.append(trial.forward_backward(batch))
        trial.update()
    share = max(peaks[1] - peaks[0], saved[1] - saved[0])
    memory = Memory(peaks[1] - 2 * share, share)
    parts, each = micro_batch_of(config)
    if dataset is None:
        longest = seconds[0] + (each - 1) * max(seconds[1] - seconds[0], 0.0)
        return memory, Time(parts * longest + updating, None, None, config.data.workers)
    loading, computing, source = [], [], MicroBatches(config, dataset, mixed)
    _reset_peak(device)
    for number in range(steps + 1):
        say(f"step {config.step}: {each} items of the training set, {number} of {steps}")
        started = time.perf_counter()
        batch = source.make(MicroBatch(number, 0, each))
        loading.append(time.perf_counter() - started)
        computing.append(trial.forward_backward(batch.to(device)))
        updating = trial.update()
    typical = [statistics.median(values[1:]) for values in (computing, loading)]
    return memory, Time(parts * typical[0] + updating, parts * typical[1], _peak(device), config.data.workers)


def memory_of(device: torch.device) -> int:
    """All memory of a device, in bytes; on a CPU that of the machine, or what its control group may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return min(whole, int(limit)) if limit != "max" else whole
    except (OSError, ValueError):
        return whole


def random_batch(config: StageConfig, content: Content, items: int, device: torch.device) -> Batch:
    """A micro-batch of noise in which every object is in every frame."""
    height, width, objects = content
    count, clips = items * frames_of(config), config.step > 1 and config.loss.association == "memory"
    labelled = count if clips else items
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, device=device)
    padding = torch.zeros(count, height, width, dtype=torch.bool, device=device)
    sizes = torch.tensor([[height, width]] * count, device=device)
    scale = config.input.pixel_mean, config.input.pixel_std
    frames = FrameBatch(images, padding, sizes, ((height, width),) * count, scale)
    targets = Targets(
        torch.randint(config.model.num_classes, (labelled, objects), device=device),
        torch.rand(labelled, objects, 4, device=device) * 0.4 + 0.3,
        torch.rand(labelled, objects, height // 4, width // 4, device=device) < 0.1,
        torch.ones(labelled, objects, dtype=torch.bool, device=device),
    )
    names = tuple(map(str, range(items)))
    if clips:
        return Batch(frames, targets, None, names, in_both=True, clip_frames=config.input.clip_frames)
    ref = None if config.step == 1 else targets
    return Batch(frames, targets, ref, names, None if ref is None else True)


class _Steps:
    """A new model with its optimizer, and the parts of a training step, timed."""

    def __init__(self, config: StageConfig, device: torch.device) -> None:
        self._model = build_model(config.model).to(device).train()
        self._optimizers = make_optimizers(self._model, config.solver)
        self._average = Average(self._model, config.solver.ema) if config.solver.ema else None
        self._objective: nn.Module = Objective(self._model, Criterion(config.loss), lambda total: total)
        self._solver, self._device = config.solver, device
        set_lr(self._optimizers, 0, config.solver)

    def forward_backward(self, batch: Batch) -> float:
        """Seconds of forward, losses and backward."""
        generators = [torch.Generator(self._device).manual_seed(i) for i in range(len(batch.sample_ids))]
        started = self._now()
        with step_weights(self._model, self._solver.precision):
            with arithmetic(self._device, self._solver.precision):
                losses = self._objective(batch, generators)
            with tf32(allowed=self._solver.precision == "tf32"):
                torch.stack(list(losses.values())).sum().backward()
        return self._now() - started

    def saved_bytes(self, batch: Batch) -> int:
        """Bytes that a forward saves for its backward pass."""
        precision = self._solver.precision
        weights = step_weights(self._model, precision)
        with saved_storages(self._model) as saved, weights, arithmetic(self._device, precision):
            self._objective(batch, [torch.Generator(self._device) for _ in batch.sample_ids])
        return saved.bytes

    def update(self) -> float:
        """Seconds of clipping and of the optimizer's step."""
        started = self._now()
        clip_gradients(self._model, self._solver.clip_norm)
        for optimizer in self._optimizers:
            optimizer.step()
        if self._average is not None:
            self._average.update(1)
        self._model.zero_grad(set_to_none=True)
        return self._now() - started

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _saved_bytes(config: StageConfig, content: Content, items: int) -> int:
    model = shapes_of(config.model).train()
    layers = config.model.decoder_layers if config.loss.deep_supervision else 1
    labelled = items * (frames_of(config) if config.loss.association == "memory" else 1)
    matches = min(CANDIDATES * content.objects, config.model.queries) * layers * labelled
    with fake_cuda(config.solver.precision):
        model.to_empty(device=CUDA)
        batch = random_batch(config, content, items, CUDA)
        with Operations(selected=matches), saved_storages(model) as saved, step_weights(model, config.solver.precision):
            Criterion(config.loss)(model, model(batch.frames), batch)
        return saved.bytes


def _states(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [tensor for state in full_state(optimizer)["state"].values() for tensor in state.values()]


def _largest(config: InputConfig, sizes: set[tuple[int, int]]) -> tuple[int, int]:
    """Largest height and width after augmentation, padded; a batch pads all frames to the largest of either."""
    short = max(config.short_sides)
    made = [short_side_size(size, short, config.max_size) for size in sizes]
    if config.crop.probability > 0:
        low, high = config.crop.size
        cut = short_side_size((min(low, high), max(low, high)), short, config.max_size)
        made += [cut, (cut[1], cut[0])]
    height, width = (-(-max(side) // STRIDE) * STRIDE for side in zip(*made, strict=True))
    return height, width


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        gc.collect()
        return_freed_memory()  # or the peak would hold what earlier steps left
        with contextlib.suppress(OSError):  # the peak is then that of the process since its start
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    """Peak memory in bytes: on CUDA what tensors take, on a CPU the whole process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
