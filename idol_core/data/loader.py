"""Training loader: worker processes make the batches; a batch depends only on the seed and its position."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.random import default_rng
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from idol_core.config import StageConfig
from idol_core.data.collate import collate_clips, collate_images, collate_pairs
from idol_core.data.dataset import Dataset
from idol_core.data.frames import FrameReader
from idol_core.data.pairs import draw_image, draw_pseudo_clip, draw_pseudo_pair, draw_video_clip, draw_video_pair
from idol_core.data.sampler import EpochOrder, MicroBatch, micro_batches, per_process, units
from idol_core.data.samples import LabelledFrames
from idol_core.errors import IdolError
from idol_core.structures import Batch

KEEP_BYTES = 256 * 2**20  # each worker caches all frames of data sets smaller than this


def make_loader(
    config: StageConfig,
    dataset: Dataset,
    mixed: Dataset | None = None,
    *,
    start_iteration: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int | None = None,
) -> Iterator[list[Batch]]:
    """Yield this process's micro-batches for each iteration, from `start_iteration` to the solver's last.

    Args:
        mixed: see `MicroBatches`.
        workers: number of loader processes; None: config.data.workers, 0: load in this process.

    Raises:
        InvalidInput: the batch size is not divisible by the micro-batches and processes.
        Missing, Integrity: while iterating, if a frame is absent or broken; `where` names it.
    """
    items = MicroBatches(config, dataset, mixed)
    parts = per_process(config.solver, world)
    workers = config.data.workers if workers is None else workers
    loader = DataLoader(
        items,
        sampler=_Flat(config, start_iteration, rank, world),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_is,
        prefetch_factor=2 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_heed_only_the_parent,
        generator=torch.Generator(),  # so that starting the workers leaves the global random state alone
    )
    return _grouped(loader, parts)


def _heed_only_the_parent(_worker: int) -> None:
    """Make a loader process ignore SIGTERM unless its parent sends it.

    Slurm and torchrun send SIGTERM to all processes, but the parent still needs batches until it has written its
    checkpoint. `sigwaitinfo` gives the sender; macOS does not have it, so there any SIGTERM ends the loader.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, name="SIGTERM", daemon=True).start()


def item_names(
    config: StageConfig, dataset: Dataset, mixed: Dataset | None, iteration: int, *, rank: int = 0, world: int = 1
) -> list[str]:
    """Names of what this process loads in an iteration: frames, or in step 3 the first frame of each video."""
    each = config.solver.batch_size // world
    return MicroBatches(config, dataset, mixed).names(MicroBatch(iteration, rank * each, each))


class _Items:
    """The training items of one set, in the order of training."""

    def __init__(self, config: StageConfig, dataset: Dataset, step: int, *, skip_empty: bool) -> None:
        self.dataset, self.step = dataset, step
        self._units = units(dataset, step, skip_empty=skip_empty)
        sizes = dataset.index.video_sizes[self._units[:, 0]]
        solver = config.solver
        group = max(solver.batch_size // solver.micro_batches, 1) if solver.normalize == "micro" else 1
        self._order = EpochOrder(sizes[:, 0] > sizes[:, 1], seed=solver.seed, group=group)
        lengths = dataset.index.first_frame[1:] - dataset.index.first_frame[:-1]
        pixels = int((dataset.index.video_sizes.astype("int64").prod(1) * lengths).sum())
        self.frames = LabelledFrames(dataset, FrameReader(keep=3 * pixels < KEEP_BYTES))

    def __getitem__(self, position: int) -> tuple[int, int]:
        """Video (row of the set) and frame of the item at a position; the frame is -1 in step 3."""
        video, frame = self._units[self._order[position]].tolist()
        return video, frame


class MicroBatches(TorchDataset[Batch]):
    """Map-style dataset of micro-batches; errors are returned instead of raised, so that workers pass them on as is.

    `mixed`: images that make up `data.mix.share` of the items (`stage_sets.mixed_images`).
    """

    def __init__(self, config: StageConfig, dataset: Dataset, mixed: Dataset | None = None) -> None:
        if (mixed is not None) != bool(config.data.mix.share):
            raise ValueError("mixed images are given without a share of the items, or the other way round")
        self._config = config
        self._own = _Items(config, dataset, config.step, skip_empty=config.data.skip_empty)
        self._mixed = None if mixed is None else _Items(config, mixed, 2, skip_empty=True)

    def __getitem__(self, place: MicroBatch) -> Batch | IdolError:  # type: ignore[override]
        try:
            return self.make(place)
        except IdolError as error:
            return error

    def names(self, place: MicroBatch) -> list[str]:
        """Frame names of a micro-batch's items; in step 3 the first frame of each video."""
        first = place.iteration * self._config.solver.batch_size + place.first
        found = []
        for position in range(first, first + place.items):
            items, own = self._item(position)
            video, frame = items[own]
            found.append(items.dataset.frame_name(video, max(frame, 0)))
        return found

    def _item(self, position: int) -> tuple[_Items, int]:
        """The set of the item at a position of the training, and its position in that set's own order.

        Of the first n items, floor(n * share) are mixed images, evenly spread: it takes no state to resume.
        """
        share = self._config.data.mix.share
        before, after = int(position * share), int((position + 1) * share)
        return (self._own, position - before) if self._mixed is None or before == after else (self._mixed, before)

    def make(self, place: MicroBatch) -> Batch:
        """Load one micro-batch."""
        config = self._config
        images, pairs, clips, names = [], [], [], []
        for j in range(place.first, place.first + place.items):
            rng = default_rng((config.solver.seed, place.iteration, j))
            items, own = self._item(place.iteration * config.solver.batch_size + j)
            video, frame = items[own]
            input = replace(config.input, crop=config.data.mix.crop) if items is self._mixed else config.input
            arguments = (rng, items.frames, input, video)
            frames: Sequence[int] = (frame,)
            if items.step == 1:
                images.append(draw_image(*arguments, frame))
            elif config.loss.association == "memory" and items.step == 2:
                clips.append(draw_pseudo_clip(*arguments, frame))
            elif config.loss.association == "memory":
                clip, frames = draw_video_clip(*arguments)
                clips.append(clip)
            elif items.step == 2:
                pairs.append(draw_pseudo_pair(*arguments, frame))
            else:
                key, ref, frames = draw_video_pair(*arguments)
                pairs.append((key, ref))
            names.append(" ".join(items.dataset.frame_name(video, t) for t in frames))
        if config.step == 1:
            return collate_images(images, config=config.input, sample_ids=names)
        if clips:
            return collate_clips(clips, config=config.input, sample_ids=names)
        return collate_pairs(pairs, config=config.input, sample_ids=names)


class _Flat:
    """Iterates over the micro-batches of all iterations in order."""

    def __init__(self, config: StageConfig, start_iteration: int, rank: int, world: int) -> None:
        self._arguments = (config.solver, start_iteration, rank, world)

    def __iter__(self) -> Iterator[MicroBatch]:
        solver, start, rank, world = self._arguments
        return micro_batches(solver, start_iteration=start, rank=rank, world=world)


def _grouped(loader: DataLoader[Batch], size: int) -> Iterator[list[Batch]]:
    group: list[Batch] = []
    for made in loader:
        if isinstance(made, IdolError):
            raise made
        group.append(made)
        if len(group) == size:
            yield group
            group = []


def _as_is(made: Any) -> Any:
    return made
