"""SimOTA label assignment (Ge et al. 2021, YOLOX) as in IDOL (paper section 4.1): several queries per instance.

All functions take any leading dimensions `...` (frames, or layers and frames). N instances, padded: `valid` marks the
real ones; Q queries, K classes. Costs are float32, without gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from idol_core.ops.boxes import cxcywh_to_xyxy, pairwise_giou, pairwise_iou
from idol_core.structures import Targets

CANDIDATES = 10  # an instance takes as many queries as the sum of that many largest IoUs, rounded down
CENTRE_RADIUS = 2.5 / 32  # half side of the centre zone, in normalized coordinates
OFF_CENTRE_COST, OUTSIDE_COST, TAKEN_COST = 1e2, 1e4, 1e5
MAX_ROUNDS = 200  # of `_serve_empty`; by then penalties exceed 2^24, where float32 can't resolve costs below 1


class Assignment(NamedTuple):
    """Target instance of every query, and the best query (anchor) of every instance."""

    gt: Tensor  # [..., Q] int64, index of the instance; -1 = unassigned
    anchor: Tensor  # [..., N] int64, index of the query; 0 where the instance is not valid


class Costs(NamedTuple):
    """Cost and IoU of every pair of instance and query."""

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
    # An instance that still has no query after MAX_ROUNDS rounds has the cheapest query as its anchor.
    eligible = matched | ~matched.any(-1, keepdim=True)
    anchor = cost.masked_fill(~eligible, torch.inf).argmin(-1)
    return Assignment(gt, anchor.masked_fill(~valid, 0))


@torch.no_grad()
def pair_costs(probs: Tensor, boxes: Tensor, targets: Targets) -> Costs:
    """Compute the cost of every (instance, query): focal class cost - 3 x GIoU + penalties off centre and outside.

    probs [..., B, Q, K] after sigmoid, boxes [..., B, Q, 4].
    """
    probs, boxes = probs.float(), boxes.float()
    valid = targets.valid[..., None]
    ours, theirs = cxcywh_to_xyxy(targets.boxes), cxcywh_to_xyxy(boxes)
    iou, _ = pairwise_iou(ours, theirs)

    # Overlap: minus GIoU, weight 3.
    overlap_cost = 3.0 * -pairwise_giou(ours, theirs)

    # Class: focal loss of the instance's class as a positive, minus its focal loss as a negative.
    labels = targets.labels[..., None].expand(*iou.shape)
    prob = probs.transpose(-1, -2).gather(-2, labels)
    negative = 0.75 * prob**2 * -(1 - prob + 1e-8).log()
    positive = 0.25 * (1 - prob) ** 2 * -(prob + 1e-8).log()
    class_cost = positive - negative

    # Position: 100 unless the query's centre lies in the box and near its centre; 10,000 more for a query whose centre
    # is in no instance's box or centre zone.
    x, y = boxes[..., None, :, 0], boxes[..., None, :, 1]
    in_box = _strictly_within(x, y, ours)
    centre = targets.boxes[..., :2]
    in_centre = _strictly_within(x, y, torch.cat((centre - CENTRE_RADIUS, centre + CENTRE_RADIUS), -1))
    outside = ~((in_box | in_centre) & valid).any(-2, keepdim=True)

    cost = class_cost + overlap_cost + OFF_CENTRE_COST * ~(in_box & in_centre) + OUTSIDE_COST * outside
    return Costs(cost.masked_fill(~valid, torch.inf), iou.masked_fill(~valid, 0.0))


@torch.no_grad()
def assign(costs: Costs, valid: Tensor, *, candidates: int) -> tuple[Tensor, Tensor]:
    """Assign queries to instances: `matched` [..., N, Q] bool, and the costs with the penalties of `_serve_empty`.

    valid [..., N]. The number of queries of an instance is the sum of its `candidates` largest IoUs, rounded down, at
    least 1; it takes the cheapest ones. A query taken by several instances goes to the one it is cheapest for, of all
    instances. Those left without a query then get one in rounds (see `_serve_empty`). Every valid instance ends with a
    query, except where all queries are taken and MAX_ROUNDS rounds were not enough.
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
    """Give every instance without a query (an empty one) a query, round by round.

    In a frame with empty instances, TAKEN_COST is added to all assigned queries for good and each empty instance takes
    its cheapest query. If any query of the frame is now shared, the queries that were `contested` before the first
    round (the set is never updated) go back to the instance they are cheapest for. So two instances may end up sharing
    a query. The loop's condition is the only host synchronisation per round.
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
    """Return `matched` [..., N, Q] with each query marked in `queries` [..., Q] given only to its cheapest instance."""
    alone = torch.zeros_like(matched).scatter_(-2, cost.argmin(-2, keepdim=True), True)
    return torch.where(queries[..., None, :], alone, matched)


def _strictly_within(x: Tensor, y: Tensor, zones_xyxy: Tensor) -> Tensor:
    """True where points x, y [..., 1, Q] lie inside zones [..., N, 4], border excluded: [..., N, Q] bool."""
    left, top, right, bottom = zones_xyxy[..., None].unbind(-2)
    return (x > left) & (x < right) & (y > top) & (y < bottom)
