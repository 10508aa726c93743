"""Order of training items: depends only on the seed, not on the number of processes or loader workers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from idol_core.config import SolverConfig
from idol_core.data.contents import why_nothing
from idol_core.data.dataset import Dataset
from idol_core.errors import Integrity, InvalidInput


class MicroBatch(NamedTuple):
    """A part of an iteration's global batch: `items` consecutive positions, beginning at `first`."""

    iteration: int
    first: int
    items: int


def units(dataset: Dataset, step: int, *, skip_empty: bool) -> NDArray[np.int64]:
    """List the items of an epoch: [U, 2] with (video, -1) in step 3, (video, frame) in steps 1 and 2.

    Steps 1 and 2 use only annotated frames of a video set. `skip_empty` drops images and videos without a usable
    instance (crowds are not usable).

    Raises:
        Integrity: no items to train on.
    """
    index = dataset.index
    annotated = index.annotated_frames()
    lengths = np.diff(index.first_frame)
    video = np.repeat(np.arange(len(lengths)), lengths)
    if not annotated.any():
        raise Integrity(
            why_nothing(index), where=str(dataset.source), fix="train on a set with masks of single objects"
        )
    if step == 3:
        chosen = np.unique(video[annotated]) if skip_empty else np.arange(len(lengths))
        return np.stack((chosen, np.full_like(chosen, -1)), axis=1)
    keep = annotated if skip_empty or dataset.kind == "vis" else np.ones_like(annotated)
    frame = np.arange(len(video)) - np.repeat(index.first_frame[:-1], lengths)
    return np.stack((video[keep], frame[keep]), axis=1)


def per_process(solver: SolverConfig, world: int) -> int:
    """Number of micro-batches per process and iteration; 1 if `normalize` is "global".

    Raises:
        InvalidInput: the batch size is not divisible by the micro-batches, or these by the processes.
    """
    parts = _parts(solver, world)
    if solver.batch_size % parts:
        raise InvalidInput(
            f"a batch of {solver.batch_size} can't be divided into {parts} equal parts",
            where="solver.batch_size",
            fix=f"set solver.batch_size to a multiple of {parts}",
        )
    if parts % world:
        finer = _refined(solver, world)
        raise InvalidInput(
            f"{parts} micro-batches can't be divided evenly among {world} processes",
            where="solver.micro_batches",
            fix=f"use a number of processes that divides {parts}, or --set solver.micro_batches={finer}",
        )
    return parts // world


def micro_batches(solver: SolverConfig, *, start_iteration: int, rank: int, world: int) -> Iterator[MicroBatch]:
    """Yield the micro-batches of one process in order, up to the last iteration."""
    mine = per_process(solver, world)
    each = solver.batch_size // _parts(solver, world)
    for iteration in range(start_iteration, solver.iterations):
        for i in range(mine):
            yield MicroBatch(iteration, (rank * mine + i) * each, each)


def _refined(solver: SolverConfig, world: int) -> int:
    """Smallest divisor of the batch size that is a multiple of `world` and of the configured micro-batches."""
    least = math.lcm(solver.micro_batches, world)
    return next(
        (n for n in range(least, solver.batch_size + 1, least) if solver.batch_size % n == 0), solver.batch_size
    )


def _parts(solver: SolverConfig, world: int) -> int:
    return solver.micro_batches if solver.normalize == "micro" else world


class EpochOrder:
    """Endless sequence of item indices: every epoch visits all items once, in a new shuffled order.

    With `group` > 1, each run of `group` positions holds items of one orientation where possible, so that
    micro-batches need little padding (detectron2's aspect-ratio grouping).
    """

    def __init__(self, upright: NDArray[np.bool_], *, seed: int, group: int = 1) -> None:
        """`upright` [U]: whether each item is taller than wide."""
        self._upright, self._seed, self._group = upright, seed, group
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, len(self._upright))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return int(self._order[place])

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        order: NDArray[np.int64] = default_rng((self._seed, epoch)).permutation(len(self._upright))
        if self._group == 1:
            return order
        begun = -epoch * len(order) % self._group  # positions that complete the last group of the previous epoch
        places = np.arange(begun, len(order))
        groups, rest = [], []
        for upright in (False, True):
            same = places[self._upright[order[begun:]] == upright]
            whole = len(same) // self._group * self._group
            groups.append(same[:whole].reshape(-1, self._group))
            rest.append(same[whole:])
        filled = np.concatenate(groups)
        filled = filled[np.argsort(filled[:, -1])]
        order = order[np.concatenate((np.arange(begun), filled.ravel(), np.sort(np.concatenate(rest))))]
        return order
