"""Contrastive losses between key and reference frame (paper section 4.1, equations 3 to 5).

B pairs, N instances (padded), Q queries of the reference frame, C channels. An instance's anchor is the embedding of
its best query in the key frame; each embedding of the reference frame is a positive, a negative or ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.losses.simota import Costs, Rounds, choose, pair_costs, serve_empty, settle
from idol_core.structures import Targets

POSITIVE_CANDIDATES, NEGATIVE_CANDIDATES = 10, 100
NEGATIVES_PER_POSITIVE = 10  # of the auxiliary loss; also the number without a positive


class Samples(NamedTuple):
    """Positive and negative queries of the reference frame for each instance; both False where a query is ignored, and
    for instances not in that frame. In crowded frames a query may be both at once."""

    positive: Tensor  # [B, N, Q] bool
    negative: Tensor  # [B, N, Q] bool


def select_samples(probs: Tensor, boxes: Tensor, targets: Targets) -> Samples:
    """Run `sample_rounds` alone."""
    (found,) = settle(sample_rounds(probs, boxes, targets))
    result: Samples = found
    return result


def sample_rounds(probs: Tensor, boxes: Tensor, targets: Targets) -> Rounds[Samples]:
    """Choose samples on the reference frame by its class probabilities [B, Q, K] and boxes [B, Q, 4].

    Positives are the queries that an assignment with 10 candidates gives an instance, negatives those that one with 100
    does not. The second assignment starts from the first one's costs, with the penalties added there: mostly there are
    none, so it is made from the plain costs first, and one question is asked about both.
    """
    costs, valid = pair_costs(probs, boxes, targets), targets.valid
    nearest = choose(costs, valid, candidates=POSITIVE_CANDIDATES)
    near = choose(costs, valid, candidates=NEGATIVE_CANDIDATES)
    positive, around = nearest.matched, near.matched
    if (yield (nearest.empty() | near.empty()).any()):
        positive, penalised = yield from serve_empty(nearest)
        near = choose(Costs(penalised, costs.iou), valid, candidates=NEGATIVE_CANDIDATES)
        around, _ = yield from serve_empty(near)
    return Samples(positive, ~around & valid[..., None])


def pair_losses(
    anchors: Tensor,
    embeddings: Tensor,
    samples: Samples,
    generator: torch.Generator | Sequence[torch.Generator] | None,
) -> dict[str, Tensor]:
    """Sums of both losses over all instances, by their published names; shapes as for `contrastive_loss`."""
    order = draw_order(samples.negative.shape, generator, anchors.device)
    return {
        "loss_reid": contrastive_loss(anchors, embeddings, samples).sum(),
        "loss_reid_aux": auxiliary_loss(anchors, embeddings, samples, order=order).sum(),
    }


def contrastive_loss(anchors: Tensor, embeddings: Tensor, samples: Samples) -> Tensor:
    """log(1 + sum over positives k+ and negatives k- of exp(v.k- - v.k+)): anchors v [B, N, C], embeddings k [B, Q, C]
    -> [B, N], >= 0; 0 for an instance without positives or without negatives.

    The double sum is the product of a sum over negatives and one over positives. If either is empty, the product is
    exp(-inf) = 0, and the masks keep all gradients 0.
    """
    similarity = _products(anchors, embeddings)
    repelled = similarity.masked_fill(~samples.negative, -torch.inf).logsumexp(-1)
    attracted = (-similarity).masked_fill(~samples.positive, -torch.inf).logsumexp(-1)
    return F.softplus(repelled + attracted)


def auxiliary_loss(anchors: Tensor, embeddings: Tensor, samples: Samples, *, order: Tensor) -> Tensor:
    """Mean squared error of the cosine similarity against 1 for positives and 0 for negatives: [B, N], in 0..4.

    The mean is over all positives and up to ten negatives per positive (up to ten in all without a positive): those of
    lowest `order` [B, N, Q]. Instances without samples give 0.
    """
    cosine = _products(F.normalize(anchors, dim=-1), F.normalize(embeddings, dim=-1))
    negative = _first_negatives(samples, order)
    squares = (cosine - 1) ** 2 * samples.positive + cosine**2 * negative
    number = samples.positive.sum(-1) + negative.sum(-1)
    return squares.sum(-1) / number.clamp(min=1)


def draw_order(
    shape: torch.Size, generator: torch.Generator | Sequence[torch.Generator] | None, device: torch.device
) -> Tensor:
    """Draw the order [B, N, Q] in which negatives are taken, from one generator or one per pair; None: by query index.

    The numbers are drawn on the generator's device, so a CPU generator gives the same ones for every `device`. Those of
    an instance do not depend on how many follow it, so padding changes nothing.
    """
    if generator is None:
        return torch.arange(shape[-1], dtype=torch.float32, device=device).expand(shape)
    if isinstance(generator, torch.Generator):
        return torch.rand(shape, generator=generator, device=generator.device).to(device)
    return torch.stack([torch.rand(shape[1:], generator=g, device=g.device) for g in generator]).to(device)


def _products(anchors: Tensor, embeddings: Tensor) -> Tensor:
    """Dot products [B, N, C] x [B, Q, C] -> [B, N, Q], in full precision even under autocast."""
    with torch.autocast(anchors.device.type, enabled=False):
        return anchors @ embeddings.transpose(1, 2)


@torch.no_grad()
def _first_negatives(samples: Samples, order: Tensor) -> Tensor:
    positives = samples.positive.sum(-1, keepdim=True)
    wanted = NEGATIVES_PER_POSITIVE * positives.clamp(min=1)
    ranked = order.masked_fill(~samples.negative, torch.inf).argsort(-1)
    first = torch.arange(order.shape[-1], device=order.device) < wanted
    return torch.zeros_like(samples.negative).scatter_(-1, ranked, first) & samples.negative
