"""SimOTA label assignment (Ge et al. 2021, YOLOX) as in IDOL (paper section 4.1): several queries per instance.

All functions take any leading dimensions `...` (frames, or layers and frames). N instances, padded: `valid` marks the
real ones; Q queries, K classes. Costs are float32, without gradient.

Whether an instance is left without a query decides how the assignment goes on, and the host waits for a GPU to tell it.
Assignments are therefore `Rounds`, generators that ask such questions; `settle` runs several of them side by side and
reads all their answers at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from idol_core.ops.boxes import cxcywh_to_xyxy, pairwise_overlaps
from idol_core.structures import Targets

CANDIDATES = 10  # an instance takes as many queries as the sum of that many largest IoUs, rounded down
CENTRE_RADIUS = 2.5 / 32  # half side of the centre zone, in normalized coordinates
OFF_CENTRE_COST, OUTSIDE_COST, TAKEN_COST = 1e2, 1e4, 1e5
MAX_ROUNDS = 200  # of `serve_empty`; by then penalties exceed 2^24, where float32 can't resolve costs below 1


_T = TypeVar("_T")
Rounds = Generator[Tensor, bool, _T]  # yields questions (bool, 0-d), is sent the answers, returns its result


class Assignment(NamedTuple):
    """Target instance of every query, and the best query (anchor) of every instance."""

    gt: Tensor  # [..., Q] int64, index of the instance; -1 = unassigned
    anchor: Tensor  # [..., N] int64, index of the query; 0 where the instance is not valid


class Costs(NamedTuple):
    """Cost and IoU of every pair of instance and query."""

    cost: Tensor  # [..., N, Q] float32; inf in rows that are not valid
    iou: Tensor  # [..., N, Q] float32; 0 in rows that are not valid


class Choice(NamedTuple):
    """An assignment in which instances may be left without a query."""

    matched: Tensor  # [..., N, Q] bool
    cost: Tensor  # [..., N, Q]
    contested: Tensor  # [..., Q] bool, queries that several instances wanted at first
    valid: Tensor  # [..., N] bool

    def empty(self) -> Tensor:
        """Instances without a query: [..., N] bool."""
        return self.valid & ~self.matched.any(-1)


@torch.no_grad()
def settle(*assignments: Rounds[Any]) -> list[Any]:
    """Run assignments side by side and return their results; the host waits once for each round of questions."""
    results: list[Any] = [None] * len(assignments)
    answers: dict[int, Any] = dict.fromkeys(range(len(assignments)))
    while answers:
        questions: dict[int, Tensor] = {}
        for i, answer in answers.items():
            try:
                questions[i] = assignments[i].send(answer)
            except StopIteration as done:
                results[i] = done.value
        read = torch.stack(list(questions.values())).cpu().tolist() if questions else []
        answers = dict(zip(questions, read, strict=True))
    return results


def match(logits: Tensor, boxes: Tensor, targets: Targets) -> Assignment:
    """Run `match_rounds` alone."""
    (found,) = settle(match_rounds(logits, boxes, targets))
    result: Assignment = found
    return result


def match_rounds(logits: Tensor, boxes: Tensor, targets: Targets) -> Rounds[Assignment]:
    """Assign queries to instances, for all layers and frames at once.

    logits [..., B, Q, K] before sigmoid and boxes [..., B, Q, 4] (cxcywh, normalized) broadcast against targets of B
    frames. A query may be the anchor of two instances in crowded frames; it then learns from the one of lower index.
    """
    costs = pair_costs(logits.float().sigmoid(), boxes, targets)
    valid = targets.valid.expand(costs.cost.shape[:-1])
    matched, cost = yield from serve_empty(choose(costs, valid, candidates=CANDIDATES))
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
    iou, giou = pairwise_overlaps(ours, theirs)

    # Overlap: minus GIoU, weight 3.
    overlap_cost = 3.0 * -giou

    # Class: focal loss of the instance's class as a positive, minus its focal loss as a negative.
    labels = targets.labels[..., None].expand(*iou.shape)
    prob = probs.transpose(-1, -2).gather(-2, labels)
    negative = 0.75 * prob**2 * -(1 - prob + 1e-8).log()
    positive = 0.25 * (1 - prob) ** 2 * -(prob + 1e-8).log()
    class_cost = positive - negative

    # Position: 100 unless the query's centre lies in the box and near its centre; 10,000 more for a query whose centre
    # is in no instance's box or centre zone.
    centre = targets.boxes[..., :2]
    near = torch.cat((centre - CENTRE_RADIUS, centre + CENTRE_RADIUS), -1)
    in_box, in_centre = _strictly_within(boxes[..., :2], torch.stack((ours, near), -3)).unbind(-3)
    outside = ~((in_box | in_centre) & valid).any(-2, keepdim=True)

    cost = class_cost + overlap_cost + OFF_CENTRE_COST * ~(in_box & in_centre) + OUTSIDE_COST * outside
    return Costs(cost.masked_fill(~valid, torch.inf), iou.masked_fill(~valid, 0.0))


def assign(costs: Costs, valid: Tensor, *, candidates: int) -> tuple[Tensor, Tensor]:
    """Assign queries to instances: `matched` [..., N, Q] bool, and the costs with the penalties of `serve_empty`.

    valid [..., N]. After `choose`, instances left without a query get one in rounds (`serve_empty`). Every valid
    instance ends with a query, except where all queries are taken and MAX_ROUNDS rounds were not enough.
    """
    (found,) = settle(serve_empty(choose(costs, valid, candidates=candidates)))
    matched, cost = found
    return matched, cost


@torch.no_grad()
def choose(costs: Costs, valid: Tensor, *, candidates: int) -> Choice:
    """Let every instance take its cheapest queries; a query wanted by several goes to the one it is cheapest for, of
    all instances. Their number is the sum of the instance's `candidates` largest IoUs, rounded down, at least 1.

    valid [..., N].
    """
    cost, iou = costs
    if cost.numel() == 0:
        matched = torch.zeros_like(cost, dtype=torch.bool)
        return Choice(matched, cost, matched.any(-2), torch.zeros_like(valid))
    limit = min(candidates, cost.shape[-1])
    overlaps = iou.topk(limit, sorted=True).values
    # Summed from the largest to the smallest: the sum is truncated, so its rounding decides in rare cases.
    count = overlaps.movedim(-1, 0).contiguous().sum(0).int().clamp(min=1)
    cheapest = cost.topk(limit, largest=False, sorted=True).indices
    taken = (torch.arange(limit, device=cost.device) < count[..., None]) & valid[..., None]
    matched = torch.zeros_like(cost, dtype=torch.bool).scatter_(-1, cheapest, taken)
    contested = matched.sum(-2) > 1
    return Choice(_keep_cheapest(matched, cost, contested), cost, contested, valid)


def serve_empty(choice: Choice) -> Rounds[tuple[Tensor, Tensor]]:
    """Give every instance without a query (an empty one) a query, round by round.

    In a frame with empty instances, TAKEN_COST is added to all assigned queries for good and each empty instance takes
    its cheapest query. If any query of the frame is now shared, the queries that were `contested` before the first
    round (the set is never updated) go back to the instance they are cheapest for. So two instances may end up sharing
    a query. The loop's condition is the only question. Returns `matched` and the costs with the penalties.
    """
    matched, cost, contested, valid = choice
    for _ in range(MAX_ROUNDS if cost.numel() else 0):
        empty = Choice(matched, cost, contested, valid).empty()
        if not (yield empty.any()):
            break
        unsettled = empty.any(-1, keepdim=True)
        cost = cost + TAKEN_COST * (matched.any(-2) & unsettled)[..., None, :]
        cheapest = torch.zeros_like(matched).scatter_(-1, cost.argmin(-1, keepdim=True), empty[..., None])
        matched = matched | cheapest
        shared = (matched.sum(-2) > 1).any(-1, keepdim=True)
        matched = _keep_cheapest(matched, cost, contested & shared & unsettled)
    return matched, cost


def _keep_cheapest(matched: Tensor, cost: Tensor, queries: Tensor) -> Tensor:
    """Return `matched` [..., N, Q] with each query marked in `queries` [..., Q] given only to its cheapest instance."""
    alone = torch.zeros_like(matched).scatter_(-2, cost.argmin(-2, keepdim=True), True)
    return torch.where(queries[..., None, :], alone, matched)


def _strictly_within(points: Tensor, zones_xyxy: Tensor) -> Tensor:
    """True where points [..., Q, 2] (x, y) lie inside zones [..., 2, N, 4], border excluded: [..., 2, N, Q] bool."""
    places, zones = points[..., None, None, :, :], zones_xyxy[..., None, :]
    return ((places > zones[..., :2]) & (places < zones[..., 2:])).all(-1)
