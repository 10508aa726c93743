"""Contrastive losses over clips: each frame is contrasted with a memory of the frames before it (CTVIS, Ying et al.
2023), as the tracker does at inference, instead of with one other frame.

B clips of T frames, N instances (padded; row i is the same object in all frames of a clip), Q queries, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.losses.contrastive import Samples, auxiliary_loss, contrastive_loss, draw_order

AVERAGED = 0.5  # probability that an instance is remembered by its average, otherwise by its last embedding
SWITCHED = 0.05  # probability that another instance's embedding enters an instance's average, as after a wrong match


class Remembered(NamedTuple):
    """What is known of each instance before each frame but the first of a clip."""

    embeddings: Tensor  # [B, T - 1, N, C]
    known: Tensor  # [B, T - 1, N] bool: whether the instance was in an earlier frame


class MemoryDraws(NamedTuple):
    """Uniform random numbers in [0, 1) for each instance and frame; [B, N, T] each."""

    averaged: Tensor
    switched: Tensor
    other: Tensor  # chooses the other instance of a switch


def draw_memory(generators: Sequence[torch.Generator] | None, shape: torch.Size, device: torch.device) -> MemoryDraws:
    """Draw the numbers of B clips, `shape` [B, N, T], from a generator per clip; None: no averages and no switches.

    Those of an instance do not depend on how many follow it, so padding changes nothing.
    """
    if generators is None:
        return MemoryDraws(*torch.ones(3, *shape, device=device))
    numbers = [torch.rand(*shape[1:], 3, generator=g, device=g.device) for g in generators]
    return MemoryDraws(*torch.stack(numbers).to(device).unbind(-1))


def remember(embeddings: Tensor, present: Tensor, draws: MemoryDraws) -> Remembered:
    """Let every instance's embeddings enter its memory, frame by frame.

    A new embedding e changes the average m to (1 - w) m + w e, where w is its mean cosine similarity to all earlier
    ones, at least 0: an embedding unlike the others, as of an object that is mostly hidden, changes little. Now and
    then another instance's embedding enters instead, never as the only one: it would be a wrong label, not a disturbed
    memory.

    Args:
        embeddings: [B, T, N, C], of the best query of each instance in each frame.
        present: [B, T, N] bool.
    """
    entering = _switched(embeddings, present, draws)
    directions = F.normalize(entering, dim=-1)
    average, last, summed = (torch.zeros_like(entering[:, 0]) for _ in range(3))
    count = torch.zeros_like(present[:, 0], dtype=entering.dtype)
    remembered, known = [], []
    for t in range(embeddings.shape[1] - 1):
        similarity = (directions[:, t] * summed).sum(-1) / count.clamp(min=1)
        weight = torch.where(count > 0, similarity.clamp(min=0), 1.0)[..., None]
        here = present[:, t, :, None]
        average = torch.where(here, torch.lerp(average, entering[:, t], weight), average)
        last = torch.where(here, embeddings[:, t], last)
        summed = summed + directions[:, t] * here
        count = count + present[:, t]
        remembered.append(torch.where((draws.averaged[..., t + 1] < AVERAGED)[..., None], average, last))
        known.append(count > 0)
    return Remembered(torch.stack(remembered, 1), torch.stack(known, 1))


def _switched(embeddings: Tensor, present: Tensor, draws: MemoryDraws) -> Tensor:
    """`embeddings`, a few of them, but for an instance's first, replaced by that of another instance in the frame."""
    number = present.any(1).sum(-1)[:, None, None]  # instances of the clip: rows before the padding, [B, 1, 1]
    step = 1 + (draws.other * (number - 1)).long()  # [B, N, T]
    other = ((torch.arange(present.shape[-1], device=step.device)[:, None] + step) % number.clamp(min=1)).transpose(
        1, 2
    )
    later = present & (present.cumsum(1) > 1)
    swap = (draws.switched.transpose(1, 2) < SWITCHED) & (number > 1) & later & present.gather(2, other)
    return torch.where(swap[..., None], embeddings.gather(2, other[..., None].expand_as(embeddings)), embeddings)


def recurring(present: Tensor) -> Tensor:
    """Whether an instance is in a frame and was in an earlier one: [B, T, N] bool -> [B, T - 1, N] bool."""
    return present[:, 1:] & (present.cumsum(1)[:, :-1] > 0)


def memory_losses(
    embeddings: Tensor,
    present: Tensor,
    queries: Tensor,
    samples: Samples,
    generator: torch.Generator | Sequence[torch.Generator] | None,
) -> dict[str, Tensor]:
    """Sums over the instances of frames 2..T that are known from an earlier frame:

    - `loss_reid`, `loss_reid_aux`: the losses of a pair (`contrastive.py`), with what is remembered as the anchor.
    - `loss_reid_memory`: the instance's embedding against the memories of all instances: its own attracts it.

    Args:
        embeddings, present: [B, T, N, C], [B, T, N], as for `remember`.
        queries: embeddings of all queries of frames 2..T, [B * (T - 1), Q, C].
        samples: of these frames, [B * (T - 1), N, Q] (`contrastive.sample_rounds`).
        generator: one, or one per clip; None: no averages, no switches, negatives by query index.
    """
    b, t, n, _ = embeddings.shape
    each = [generator] * b if isinstance(generator, torch.Generator) else generator
    remembered = remember(embeddings, present, draw_memory(each, torch.Size((b, n, t)), embeddings.device))
    of_frames = None if each is None else [one for one in each for _ in range(t - 1)]
    order = draw_order(samples.negative.shape, of_frames, embeddings.device)

    anchors, known = remembered.embeddings.flatten(0, 1), remembered.known.flatten(0, 1)
    own = torch.eye(n, dtype=torch.bool, device=anchors.device)
    among = Samples(own & known[:, None], ~own & known[:, None])
    losses = {
        "loss_reid": contrastive_loss(anchors, queries, samples),
        "loss_reid_aux": auxiliary_loss(anchors, queries, samples, order=order),
        "loss_reid_memory": contrastive_loss(embeddings[:, 1:].flatten(0, 1), anchors, among),
    }
    chosen = recurring(present).flatten(0, 1)
    return {name: values.masked_fill(~chosen, 0.0).sum() for name, values in losses.items()}
