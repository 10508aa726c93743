"""SimOTA label assignment (Ge et al. 2021, YOLOX) as in IDOL (paper section 4.1): an instance takes several queries.

All functions take any leading dimensions `...` (frames, or layers and frames), pad instances to N and say with `valid`
which rows are real; Q queries, K classes. Costs and decisions are float32, without gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from idol_core.ops.boxes import cxcywh_to_xyxy, pairwise_giou, pairwise_iou
from idol_core.structures import Targets

CANDIDATES = 10  # overlaps whose sum is the number of queries an instance takes
CENTRE_RADIUS = 2.5 / 32  # half side of the centre zone, in normalized coordinates
OFF_CENTRE_COST, OUTSIDE_COST, TAKEN_COST = 1e2, 1e4, 1e5
MAX_ROUNDS = 200  # of repair; by then the penalties exceed 2^24 and float32 costs below 1 have long stopped to count


class Assignment(NamedTuple):
    """Which instance every query learns from, and the best query of every instance."""

    gt: Tensor  # [..., Q] int64, index of the instance; -1 = unassigned
    anchor: Tensor  # [..., N] int64, index of the query; 0 where the instance is not valid


class Costs(NamedTuple):
    """Cost and overlap of every pair of instance and query."""

    cost: Tensor  # [..., N, Q] float32; inf in rows that are not valid
    iou: Tensor  # [..., N, Q] float32; 0 in rows that are not valid


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: Targets) -> Assignment:
    """Assign queries to instances, for all layers and frames at once.

    logits [..., B, Q, K] before sigmoid and boxes [..., B, Q, 4] (cxcywh, normalized) broadcast against targets of B
    frames. A query may be the anchor of two instances in crowded frames; it then learns from the one of lower index.
    """
    costs = pair_costs(logits.float().sigmoid(), boxes, targets)
    valid = targets.valid.expand(costs.cost.shape[:-1])
    matched, cost = assign(costs, valid, candidates=CANDIDATES)
    instances = torch.arange(cost.shape[-2], device=cost.device)
    if len(instances) == 0:
        return Assignment(logits.new_full(boxes.shape[:-1], -1, dtype=torch.long), valid.long())
    lowest = torch.where(matched, instances[:, None], len(instances)).amin(-2)
    gt = lowest.masked_fill(lowest == len(instances), -1)
    # An instance that the bounded repair left without a query has the cheapest one as its anchor all the same.
    eligible = matched | ~matched.any(-1, keepdim=True)
    anchor = cost.masked_fill(~eligible, torch.inf).argmin(-1)
    return Assignment(gt, anchor.masked_fill(~valid, 0))


@torch.no_grad()
def pair_costs(probs: Tensor, boxes: Tensor, targets: Targets) -> Costs:
    """Costs of every (instance, query): focal class cost, 3 x negative GIoU, penalties off centre and outside.

    probs [..., B, Q, K] after sigmoid, boxes [..., B, Q, 4].
    """
    probs, boxes = probs.float(), boxes.float()
    valid = targets.valid[..., None]
    ours, theirs = cxcywh_to_xyxy(targets.boxes), cxcywh_to_xyxy(boxes)
    iou, _ = pairwise_iou(ours, theirs)

    # Overlap: minus GIoU, weight 3.
    overlap_cost = 3.0 * -pairwise_giou(ours, theirs)

    # Class: focal loss of the instance's class as a positive, less the same as a negative.
    labels = targets.labels[..., None].expand(*iou.shape)
    prob = probs.transpose(-1, -2).gather(-2, labels)
    negative = 0.75 * prob**2 * -(1 - prob + 1e-8).log()
    positive = 0.25 * (1 - prob) ** 2 * -(prob + 1e-8).log()
    class_cost = positive - negative

    # Place: 100 unless the query's centre lies in the box and near its centre; 10,000 more for a query whose centre is
    # in no instance's box or centre zone.
    x, y = boxes[..., None, :, 0], boxes[..., None, :, 1]
    in_box = _strictly_within(x, y, ours)
    centre = targets.boxes[..., :2]
    in_centre = _strictly_within(x, y, torch.cat((centre - CENTRE_RADIUS, centre + CENTRE_RADIUS), -1))
    outside = ~((in_box | in_centre) & valid).any(-2, keepdim=True)

    cost = class_cost + overlap_cost + OFF_CENTRE_COST * ~(in_box & in_centre) + OUTSIDE_COST * outside
    return Costs(cost.masked_fill(~valid, torch.inf), iou.masked_fill(~valid, 0.0))


@torch.no_grad()
def assign(costs: Costs, valid: Tensor, *, candidates: int) -> tuple[Tensor, Tensor]:
    """Queries of every instance: `matched` [..., N, Q] bool, and the costs with the penalties that the repair added.

    valid [..., N]. An instance takes as many of its cheapest queries as the sum of its `candidates` largest overlaps
    says; a contested query goes to the instance it is cheapest for, claimant or not. Instances left empty are then
    served in rounds (see `_serve_empty`). Every valid instance ends with a query, except where all queries are taken
    and MAX_ROUNDS rounds could not settle it.
    """
    cost, iou = costs
    if cost.numel() == 0:
        return torch.zeros_like(cost, dtype=torch.bool), cost
    limit = min(candidates, cost.shape[-1])
    overlaps = iou.topk(limit, sorted=True).values
    # Summed from the largest to the smallest: the sum is truncated, so its rounding decides in rare cases.
    count = overlaps.movedim(-1, 0).contiguous().sum(0).int().clamp(min=1)
    cheapest = cost.topk(limit, largest=False, sorted=True).indices
    taken = (torch.arange(limit, device=cost.device) < count[..., None]) & valid[..., None]
    matched = torch.zeros_like(cost, dtype=torch.bool).scatter_(-1, cheapest, taken)
    contested = matched.sum(-2) > 1
    matched = _keep_cheapest(matched, cost, contested)
    return _serve_empty(matched, cost, contested, valid)


def _serve_empty(matched: Tensor, cost: Tensor, contested: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Give every empty instance a query, round by round.

    In a frame with empty instances, all assigned queries become dearer for good, each empty instance takes the cheapest
    query on its own, and if any query of the frame is now shared, the queries contested at first (only those: the set
    is never refreshed) go back to the instance they are cheapest for. So two instances may end up sharing a query.
    The loop's condition is the one host synchronisation a round.
    """
    for _ in range(MAX_ROUNDS):
        empty = valid & ~matched.any(-1)
        if not empty.any():
            break
        unsettled = empty.any(-1, keepdim=True)
        cost = cost + TAKEN_COST * (matched.any(-2) & unsettled)[..., None, :]
        choice = torch.zeros_like(matched).scatter_(-1, cost.argmin(-1, keepdim=True), empty[..., None])
        matched = matched | choice
        shared = (matched.sum(-2) > 1).any(-1, keepdim=True)
        matched = _keep_cheapest(matched, cost, contested & shared & unsettled)
    return matched, cost


def _keep_cheapest(matched: Tensor, cost: Tensor, queries: Tensor) -> Tensor:
    """`matched` [..., N, Q] with each of the marked `queries` [..., Q] given to the one instance it is cheapest for."""
    alone = torch.zeros_like(matched).scatter_(-2, cost.argmin(-2, keepdim=True), True)
    return torch.where(queries[..., None, :], alone, matched)


def _strictly_within(x: Tensor, y: Tensor, zones_xyxy: Tensor) -> Tensor:
    """Points x, y [..., 1, Q] inside zones [..., N, 4]: [..., N, Q] bool."""
    left, top, right, bottom = zones_xyxy[..., None].unbind(-2)
    return (x > left) & (x < right) & (y > top) & (y < bottom)
