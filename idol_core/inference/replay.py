"""Record the network's forward as CUDA graphs and replay them: one launch in place of hundreds.

A frame of r50 takes about 480 operations, which the host launches one by one; at small sizes and batches a GPU waits
for it. A graph is recorded for each form of a batch (number and padded size of its frames).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idol_core.ops.constants import kept_alive
from idol_core.structures import Decoded, FrameBatch

Forward = Callable[[FrameBatch], Decoded]
MOST = 8  # graphs of one network; batches of further forms are computed as usual
TOLERANCE = 2e-2  # largest error, by a tensor's largest number, of a replay: cuBLAS may choose another product


class _Form(NamedTuple):
    shape: torch.Size
    dtype: torch.dtype
    known_sizes: tuple[tuple[int, int], ...] | None  # they decide which operations run


class Replayed:
    """A network's forward, replayed from the second batch of each form on.

    The first replay of a graph is compared with the network. If they disagree, or nothing can be recorded, one line on
    stderr says so and batches of that form are computed as usual.

    Args:
        record: makes a replay of the forward of frames that look like the given ones; its outputs are new tensors.
    """

    def __init__(self, forward: Forward, record: Callable[[Forward, FrameBatch], Forward] | None = None) -> None:
        self._forward, self._record = forward, record or GraphRecorder().record
        self._seen: set[_Form] = set()
        self._replays: dict[_Form, Forward] = {}

    def __call__(self, frames: FrameBatch) -> Decoded:
        form = _Form(frames.images.shape, frames.images.dtype, frames.known_sizes)
        if form in self._replays:
            return self._replays[form](frames)
        if form not in self._seen or len(self._replays) == MOST:
            self._seen.add(form)
            return self._forward(frames)
        return self._prove(form, frames)

    def _prove(self, form: _Form, frames: FrameBatch) -> Decoded:
        """Record a graph and compare its first replay with the network, whose output is returned."""
        count, _, height, width = form.shape
        name = f"{count} frame{'s' * (count > 1)} of {height}x{width}"
        print(f"recording a CUDA graph for {name}", file=sys.stderr, flush=True)
        expected = self._forward(frames)
        try:
            replay = self._record(self._forward, frames)
            error = _difference(replay(frames), expected)
        except RuntimeError as fault:  # also where memory runs out
            self._give_up(form, name, f"can't be recorded ({str(fault).strip().partition(chr(10))[0]})")
        else:
            self._replays[form] = replay
            if not error <= TOLERANCE:  # also NaN
                self._give_up(form, name, f"is wrong by {error:.2g} of the largest number")
        return expected

    def _give_up(self, form: _Form, name: str, what: str) -> None:
        self._replays[form] = self._forward
        text = f"warning: the CUDA graph for {name} {what}; the network runs without it"
        print(text, file=sys.stderr, flush=True)


class GraphRecorder:
    """Records CUDA graphs that share memory: none runs beside another, and outputs are copied after each replay."""

    def __init__(self) -> None:
        self._pool: Any = None  # made at the first graph: a network on a CPU has none

    def record(self, forward: Forward, frames: FrameBatch) -> Forward:
        """Record `forward` on frames of zeros like the given ones, after it has run as usual."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return _record_graph(forward, frames, self._pool)


def _record_graph(forward: Forward, frames: FrameBatch, pool: Any) -> Forward:
    still = frames._replace(images=torch.zeros_like(frames.images), padding=frames.padding.clone(), sizes=frames.sizes)
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream(frames.images.device)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        forward(still)  # libraries allocate what they need in a stream
    torch.cuda.current_stream().wait_stream(side)
    # Only this thread is watched for calls that a graph can't hold: another one may be tracking.
    with kept_alive() as constants, torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
        made = forward(still)

    def replay(given: FrameBatch) -> Decoded:
        still.images.copy_(given.images)
        still.padding.copy_(given.padding)
        graph.replay()
        copies = {name: tensor.clone() for name, tensor in _tensors(made)}
        return Decoded(**{**copies, "sizes": given.sizes}, level_shapes=made.level_shapes)

    replay.constants = constants  # type: ignore[attr-defined]  # the graph reads their memory
    return replay


def _tensors(decoded: Decoded) -> list[tuple[str, Tensor]]:
    values: list[tuple[str, Any]] = [(field.name, getattr(decoded, field.name)) for field in fields(decoded)]
    return [(name, value) for name, value in values if isinstance(value, Tensor)]


def _difference(found: Decoded, expected: Decoded) -> float:
    """The largest error of any tensor, by that tensor's largest number; NaN if anything is not a number."""
    errors = []
    for (_, a), (_, b) in zip(_tensors(found), _tensors(expected), strict=True):
        a, b = a.double(), b.double()
        errors.append((a - b).abs().max() / b.abs().max().clamp(min=1e-6))
    return float(torch.stack(errors).max())
