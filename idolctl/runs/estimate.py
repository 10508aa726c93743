"""Estimate memory and time of the stages of a plan; says what was measured and what was extrapolated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idol_core.config import StageConfig
from idol_core.data.dataset import Dataset
from idol_core.data.stage_sets import mixed_images, training_set
from idol_core.errors import Missing
from idol_core.system.cpu import configure_threads
from idolctl.terminal.progress import clock, say

GIB, MIB = 2**30, 2**20
STEPS = 3  # micro-batches of the training set that are timed


@dataclass(frozen=True)
class Estimate:
    """Estimate of one stage in one process. Sizes in bytes and pixels; an item is an image, a pair or a clip."""

    step: int
    device: str
    measured: bool  # False: bytes counted on fake tensors, no time
    with_data: bool  # whether the training set was here
    available: float  # memory of the device
    frame_height: int  # of the largest frames
    frame_width: int
    objects: int  # of an item
    fixed: float  # memory whatever the micro-batch
    each: float  # memory of an item more
    micro_batches: int
    items: int  # of a micro-batch, in the settings
    needed: float
    largest: int  # items of the largest micro-batch that fits
    spare: float  # share of the memory that is left free in it
    iterations: int
    computing: float | None = None  # seconds of an iteration
    loading: float | None = None  # seconds of its loading in one loader process
    workers: int = 0
    peak: int | None = None  # memory on the data, with micro-batches as in the settings
    seconds: float | None = None  # of all iterations
    normalize: str = "micro"
    item_frames: int = 1  # 1: an image, 2: a pair, more: a clip

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def estimates(configs: list[StageConfig], root: Path, *, gpu_memory: float | None) -> Iterator[Estimate]:
    """Estimate stages one after another: by steps on this device, or counted for a GPU of `gpu_memory` bytes.

    Raises InvalidInput for a batch that doesn't divide, and what `training_set` raises, except Missing: without the
    data, frames are taken to be of 720x1280.
    """
    configure_threads()
    import torch

    from idol_core.engine.estimate import SPARE, content_of, count_memory, frames_of, measure, memory_of, micro_batch_of

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for config in configs:
        parts, items = micro_batch_of(config)
        dataset, mixed = _data(config, root)
        content, time = content_of(config, dataset, mixed), None
        if gpu_memory is None:
            memory, time = measure(config, dataset, content, device, steps=STEPS, say=say, mixed=mixed)
            available = float(memory_of(device))
        else:
            say(f"step {config.step}: counting")
            memory, available = count_memory(config, content), gpu_memory
        yield Estimate(
            step=config.step,
            device=str(device) if time else "a GPU",
            measured=time is not None,
            with_data=dataset is not None,
            available=available,
            frame_height=content.height,
            frame_width=content.width,
            objects=content.objects,
            fixed=memory.fixed,
            each=memory.each,
            micro_batches=parts,
            items=items,
            needed=memory.of(items),
            largest=memory.most(available),
            spare=SPARE,
            iterations=config.solver.iterations,
            computing=time.computing if time else None,
            loading=time.loading if time else None,
            peak=time.peak if time else None,
            workers=config.data.workers,
            seconds=config.solver.iterations * time.iteration if time else None,
            normalize=config.solver.normalize,
            item_frames=frames_of(config),
        )


def estimate_text(found: Estimate) -> str:
    """A stage's estimate in lines: what was measured or counted, what is extrapolated from it, what fits."""
    item = "image" if found.item_frames == 1 else "pair" if found.item_frames == 2 else "clip"
    how = "measured" if found.measured else "counted (the temporary memory of single operations is not)"
    frames = f"one and two {item}s of {found.frame_height}x{found.frame_width}, the largest possible"
    rows = [
        f"step {found.step} on {found.device}, one process: {found.micro_batches} x {found.items} {item}s an iteration",
        f"  memory   {how}: {_size(found.fixed)}, and {_size(found.each)} for each {item}",
        f"           with {frames}, of {found.objects} objects",
    ]
    if found.peak is not None:
        rows.append(f"           measured: {_size(found.peak)} with {STEPS} x {found.items} of the training set")
    rows.append(f"           extrapolated: {_size(found.needed)} for {found.items}, of {_size(found.available)}")
    if found.largest is not None:
        rows.append(
            f"  largest  extrapolated: {found.largest} {item}s at once, with {found.spare:.0%} of memory left free"
        )
        if found.largest < found.items:
            rows += [f"           {line}" for line in _smaller(found, item)]
    if found.seconds is not None and found.computing is not None:
        rows.append(f"  time     {_basis(found)}: {found.computing:.3g} s an iteration")
        if found.loading is not None:
            rows.append(
                f"           measured: {found.loading:.3g} s of loading, shared by data.workers={found.workers}"
            )
        rows.append(f"           extrapolated: {clock(found.seconds)} for {found.iterations} iterations")
        rows.append("           (without evaluation)")
    if not found.with_data:
        rows.append("  the training set is not here: its frames are taken to be of 720x1280")
    return "\n".join(rows)


def _smaller(found: Estimate, item: str) -> list[str]:
    """What to do about micro-batches that don't fit."""
    lines = [f"{found.items} {item}s don't fit: --set model.checkpoint=true takes less, with the same gradients"]
    batch = found.items * found.micro_batches
    parts = next((n for n in range(1, batch + 1) if batch % n == 0 and batch // n <= found.largest), None)
    if found.normalize == "micro" and parts:
        lines.append(f"or --set solver.micro_batches={parts}, which also divides the losses by smaller parts")
    elif parts:
        lines.append(f"or {parts} processes (--gpus), or a smaller solver.batch_size")
    return lines


def _basis(found: Estimate) -> str:
    if found.with_data:
        return f"measured on {STEPS} micro-batches of the training set"
    return "extrapolated from those frames, so at most"


def _size(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"


def _data(config: StageConfig, root: Path) -> tuple[Dataset | None, Dataset | None]:
    """Training set and mixed images; None, None if either is not here."""
    try:
        train_set = training_set(config, root)
        return train_set, mixed_images(config, root, train_set)
    except Missing:
        return None, None
