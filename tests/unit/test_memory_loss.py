"""Losses of clips: what is remembered of an instance, and what it is compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.build import build_model
from idol_core.config import LossConfig
from idol_core.losses.criterion import Criterion
from idol_core.losses.memory import MemoryDraws, draw_memory, recurring, remember
from idol_core.structures import Batch, Targets
from idol_core.tracking.memory import Memory
from tests.unit.test_criterion import SMALL, make_batch

B, T, N, C = 3, 5, 4, 8


def clips() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(B, T, N, C, generator=generator) + 0.3  # mostly similar, some with a mean cosine below 0
    return embeddings, torch.rand(B, T, N, generator=generator) > 0.3


def draws(averaged: float, switched: float = 1.0) -> MemoryDraws:
    return MemoryDraws(*(torch.full((B, N, T), value) for value in (averaged, switched, 0.0)))


def kept_before(embeddings: Tensor, present: Tensor, t: int) -> list[Tensor]:
    return [e for e, here in zip(embeddings[:t], present[:t], strict=True) if here]


def average_of(kept: list[Tensor]) -> Tensor:
    average = kept[0]
    for i, e in enumerate(kept[1:], start=1):
        weight = torch.stack([F.cosine_similarity(e, k, dim=0) for k in kept[:i]]).mean().clamp(min=0)
        average = (1 - weight) * average + weight * e
    return average


def test_the_average_takes_each_embedding_by_its_similarity_to_the_earlier_ones():
    embeddings, present = clips()
    found = remember(embeddings, present, draws(averaged=0.0))
    assert torch.equal(found.known[:, :, None].squeeze(2), present.cumsum(1)[:, :-1] > 0)
    for b in range(B):
        for n in range(N):
            for t in range(1, T):
                kept = kept_before(embeddings[b, :, n], present[b, :, n], t)
                if kept:
                    torch.testing.assert_close(found.embeddings[b, t - 1, n], average_of(kept))


def test_the_tracker_averages_as_the_loss_does():
    embeddings, present = clips()
    found = remember(embeddings, present, draws(averaged=0.0))
    for b in range(B):
        memory = Memory(length=T, max_missed=T, temporal_weighting=True, similarity_weighting=True)
        for t in range(T - 1):
            for n in present[b, t].nonzero()[:, 0].tolist():
                memory.see(n, embeddings[b, t, n].numpy(), np.float32(0.5), t)
            for n, track in memory.tracks.items():
                np.testing.assert_allclose(
                    track.representative, found.embeddings[b, t, n].numpy(), rtol=1e-5, atol=1e-6
                )


def test_otherwise_the_last_embedding_is_remembered():
    embeddings, present = clips()
    found = remember(embeddings, present, draws(averaged=1.0))
    for b, t, n in found.known.nonzero().tolist():
        assert torch.equal(found.embeddings[b, t, n], kept_before(embeddings[b, :, n], present[b, :, n], t + 1)[-1])


def test_a_switch_lets_the_next_instance_of_the_frame_enter_the_average_but_never_alone():
    embeddings, present = clips()
    present[0, :, 3] = False  # padding of the first clip
    found = remember(embeddings, present, draws(averaged=0.0, switched=0.0))
    number = present.any(1).sum(-1).tolist()
    assert number[0] == 3
    switched = 0
    for b, t, n in found.known.nonzero().tolist():
        kept = []
        for earlier in present[b, : t + 1, n].nonzero()[:, 0].tolist():
            other = (n + 1) % number[b]
            wanted = other if kept and present[b, earlier, other] else n
            switched += wanted != n
            kept.append(embeddings[b, earlier, wanted])
        torch.testing.assert_close(found.embeddings[b, t, n], average_of(kept))
    assert switched > 20
    last = remember(embeddings, present, draws(averaged=1.0, switched=0.0))
    assert torch.equal(last.embeddings, remember(embeddings, present, draws(averaged=1.0)).embeddings)


def test_padding_changes_no_draw():
    few, many = (
        draw_memory([torch.Generator().manual_seed(i) for i in range(B)], torch.Size((B, n, T)), torch.device("cpu"))
        for n in (N, N + 3)
    )
    assert all(torch.equal(a, b[:, :N]) for a, b in zip(few, many, strict=True))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(SMALL)


def as_clips(pairs: Batch) -> Batch:
    both = [torch.stack(two, 1).flatten(0, 1) for two in zip(pairs.key, pairs.ref, strict=True)]
    return pairs._replace(key=Targets(*both), ref=None, clip_frames=2)


def test_a_clip_of_two_frames_has_the_contrastive_losses_of_a_pair_and_learns_both_frames(model):
    pairs = make_batch([3, 2, 0], absent=1)
    decoded, criterion = model(pairs.frames), Criterion(LossConfig())
    of_pairs, of_clips = (criterion(model, decoded, batch) for batch in (pairs, as_clips(pairs)))
    for name in ("loss_reid", "loss_reid_aux"):
        torch.testing.assert_close(of_clips[name], of_pairs[name])
    assert of_clips.keys() - of_pairs.keys() == {"loss_reid_memory"}
    assert of_clips["loss_reid_memory"] > 0
    frames = as_clips(pairs)._replace(clip_frames=1)  # the same frames without their order: step 1
    torch.testing.assert_close(of_clips["loss_mask"], criterion(model, decoded, frames)["loss_mask"])


def test_without_an_object_in_two_frames_the_embedding_head_gets_no_gradient(model):
    pairs = make_batch([2, 1], absent=2)
    batch = as_clips(pairs)
    assert not batch.objects_recur()
    losses = Criterion(LossConfig())(model, model(batch.frames), batch)
    assert losses["loss_reid_memory"] == 0
    model.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is None for p in model.embed_head.parameters())
    assert not recurring(batch.key.valid.unflatten(0, (-1, 2))).any()
