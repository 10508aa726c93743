"""SimOTA: what must hold for any frames, and the batched form against a plain one of loops."""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from idol_core.losses.contrastive import sample_rounds
from idol_core.losses.simota import MAX_ROUNDS, Costs, assign, match, match_rounds, pair_costs, settle
from idol_core.structures import Targets

CLASSES = 5


@st.composite
def frames(draw: st.DrawFn, queries: int, instances: st.SearchStrategy[int]) -> tuple[Tensor, Tensor, Targets]:
    """logits [1, Q, K], boxes [1, Q, 4] and targets of one frame: apart, in crowds, or with boxes without area."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(instances)
    spread = draw(st.sampled_from([0.02, 0.1, 0.4]))
    centres = 0.5 + spread * rng.uniform(-1, 1, (count, 2))
    targets = np.concatenate((centres, rng.uniform(0.02, 0.4, (count, 2))), axis=1)
    boxes = np.concatenate((rng.uniform(0, 1, (queries, 2)), rng.uniform(0.02, 0.4, (queries, 2))), axis=1)
    near = rng.uniform(size=queries) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    if count:
        drawn = rng.integers(count, size=queries)
        boxes[near] = (targets[drawn] * rng.uniform(0.8, 1.2, (queries, 4)))[near]
    boxes[0, :2] = 0.01  # where the empty boxes of padding rows lie
    if draw(st.booleans()):
        boxes[rng.uniform(size=queries) < 0.3, 2:] = 0
        targets[rng.uniform(size=count) < 0.3, 2:] = 0
    return (
        torch.from_numpy(rng.normal(-2, 2, (1, queries, CLASSES))).float(),
        torch.from_numpy(boxes)[None].float(),
        Targets(
            labels=torch.from_numpy(rng.integers(CLASSES, size=(1, count))),
            boxes=torch.from_numpy(targets).float()[None],
            masks=torch.zeros(1, count, 1, 1, dtype=torch.bool),
            valid=torch.from_numpy(rng.uniform(size=(1, count)) < draw(st.sampled_from([0.0, 0.7, 1.0]))),
        ),
    )


ANY_FRAME = st.sampled_from([1, 2, 7, 30, 300]).flatmap(lambda queries: frames(queries, st.integers(0, 12)))
ROOMY_FRAME = st.sampled_from([200, 300]).flatmap(lambda queries: frames(queries, st.integers(1, 12)))


@given(ANY_FRAME)
def test_indices_are_in_range_and_only_valid_instances_get_queries(frame):
    logits, boxes, targets = frame
    gt, anchor = match(logits, boxes, targets)
    (_, queries, _), count = logits.shape, targets.valid.shape[1]
    assert gt.shape == (1, queries)
    assert anchor.shape == (1, count)
    assert ((gt >= -1) & (gt < count)).all()
    assert ((anchor >= 0) & (anchor < queries)).all()
    assert targets.valid[0, gt[gt >= 0]].all()
    assert (gt >= 0).sum() <= 10 * targets.valid.sum()
    assert bool((gt >= 0).any()) == bool(targets.valid.any())


@given(ROOMY_FRAME)
def test_with_queries_to_spare_every_instance_has_its_anchor(frame):
    """The anchor learns from its instance, or from one of lower index that shares it."""
    logits, boxes, targets = frame
    gt, anchor = match(logits, boxes, targets)
    rows = targets.valid[0].nonzero()[:, 0]
    learns_from = gt[0, anchor[0, rows]]
    assert ((learns_from >= 0) & (learns_from <= rows)).all()


@given(ROOMY_FRAME, st.integers(0, 2**32 - 1))
def test_order_of_queries_does_not_matter(frame, seed):
    logits, boxes, targets = frame
    order = torch.from_numpy(np.random.default_rng(seed).permutation(logits.shape[1]))
    assume_no_ties(assigned(logits, boxes, targets)[1])
    gt, anchor = match(logits, boxes, targets)
    moved_gt, moved_anchor = match(logits[:, order], boxes[:, order], targets)
    assert torch.equal(moved_gt, gt[:, order])
    assert torch.equal(order[moved_anchor][targets.valid], anchor[targets.valid])


@given(ROOMY_FRAME, st.integers(0, 2**32 - 1))
def test_order_of_instances_does_not_matter(frame, seed):
    logits, boxes, targets = frame
    order = torch.from_numpy(np.random.default_rng(seed).permutation(targets.valid.shape[1]))
    moved = Targets(*(field[:, order] for field in targets))
    matched, cost = assigned(logits, boxes, targets)
    assume_no_ties(cost)
    assume_no_ties(cost.mT)
    kept = order[targets.valid[0, order]]
    rank = targets.valid[0].cumsum(0) - 1
    assert torch.equal(assigned(logits, boxes, moved)[0], matched[rank[kept]])


def assigned(logits: Tensor, boxes: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """What `assign` gives for the one frame, without the rows that are not valid: [n, Q] each."""
    matched, cost = assign(pair_costs(logits.sigmoid(), boxes, targets), targets.valid, candidates=10)
    return matched[targets.valid], cost[targets.valid]


def assume_no_ties(cost: Tensor) -> None:
    """Skip frames with equal costs in a row: no rule says who wins there. Large costs are rounded, so they do occur."""
    for row in cost:
        assume(len(row.unique()) == len(row))


@given(st.lists(frames(40, st.integers(0, 9)), min_size=2, max_size=4))
def test_frames_of_a_batch_do_not_touch_each_other(several):
    most = max(targets.valid.shape[1] for _, _, targets in several) + 1
    logits, boxes = (torch.cat([frame[i] for frame in several]) for i in (0, 1))
    rows = [Targets(*(pad(field, most) for field in targets)) for _, _, targets in several]
    padded = Targets(*(torch.cat(fields) for fields in zip(*rows, strict=True)))
    layers = match(torch.stack((logits.flip(0), logits)), torch.stack((boxes.flip(0), boxes)), padded)
    matched, cost = assign(pair_costs(logits.sigmoid(), boxes, padded), padded.valid, candidates=10)
    for row, frame in enumerate(several):
        alone = match(*frame)
        count = alone.anchor.shape[1]
        assert torch.equal(layers.gt[1, row], alone.gt[0])
        assert torch.equal(layers.anchor[1, row, :count], alone.anchor[0])
        alone_matched, alone_cost = assigned(*frame)
        assert torch.equal(matched[row, padded.valid[row]], alone_matched)
        # The last digit of a logarithm depends on its place in memory; penalties are 1e5.
        torch.testing.assert_close(cost[row, padded.valid[row]], alone_cost, atol=0.1, rtol=0)


def pad(field: Tensor, rows: int) -> Tensor:
    extra = field.new_zeros(1, rows - field.shape[1], *field.shape[2:])
    return torch.cat((field, extra), dim=1)


CROWDED_FRAME = st.sampled_from([12, 30, 60]).flatmap(lambda queries: frames(queries, st.integers(1, 24)))


@settings(max_examples=150)
@given(CROWDED_FRAME, st.sampled_from([10, 100]))
def test_same_as_loops_over_instances_and_queries(frame, candidates):
    """Crowds where contested queries, several rounds of repair and shared queries are the rule."""
    logits, boxes, targets = frame
    assume(targets.valid.any())
    costs = pair_costs(logits.sigmoid(), boxes, targets)
    rows = targets.valid[0]
    assume_no_ties(costs.cost[0, rows])
    matched, cost = assign(costs, targets.valid, candidates=candidates)
    expected, expected_cost = assign_by_loops(costs.cost[0, rows].numpy(), costs.iou[0, rows].numpy(), candidates)
    np.testing.assert_array_equal(matched[0, rows].numpy(), expected)
    np.testing.assert_array_equal(cost[0, rows].numpy(), expected_cost)
    assert not matched[0, ~rows].any()


def assign_by_loops(cost: np.ndarray, iou: np.ndarray, candidates: int) -> tuple[np.ndarray, np.ndarray]:
    """The rules of the assignment one by one: cost, iou [n, q] float32 -> matched [n, q] and the penalised costs."""
    cost, (count, queries) = cost.copy(), cost.shape
    owners: list[set[int]] = [set() for _ in range(queries)]
    for j in range(count):
        total = np.float32(0)
        for overlap in sorted(iou[j], reverse=True)[:candidates]:
            total += overlap
        for q in np.argsort(cost[j])[: max(int(total), 1)]:
            owners[q].add(j)
    contested = [q for q in range(queries) if len(owners[q]) > 1]
    for q in contested:
        owners[q] = {int(cost[:, q].argmin())}
    for _ in range(MAX_ROUNDS):
        empty = [j for j in range(count) if not any(j in owner for owner in owners)]
        if not empty:
            break
        for q in range(queries):
            if owners[q]:
                cost[:, q] += np.float32(1e5)
        for j in empty:
            owners[cost[j].argmin()].add(j)
        if any(len(owner) > 1 for owner in owners):
            for q in contested:
                owners[q] = {int(cost[:, q].argmin())}
    return np.array([[j in owners[q] for q in range(queries)] for j in range(count)]), cost


@given(ANY_FRAME, st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_broken_predictions_break_nothing(frame, value):
    """A diverged network's losses must be able to say so: the matcher only has to survive."""
    logits, boxes, targets = frame
    for broken in ((logits.clone().fill_(value), boxes), (logits, boxes.clone().fill_(value))):
        gt, anchor = match(*broken, targets)
        assert ((gt >= -1) & (gt < targets.valid.shape[1])).all()
        assert ((anchor >= 0) & (anchor < logits.shape[1])).all()


@given(ANY_FRAME, ANY_FRAME)
def test_assignments_side_by_side_are_those_one_after_the_other(first, second):
    logits, boxes, targets = second
    costs = pair_costs(logits.sigmoid(), boxes, targets)
    positive, penalised = assign(costs, targets.valid, candidates=10)
    near, _ = assign(Costs(penalised, costs.iou), targets.valid, candidates=100)
    found, samples = settle(match_rounds(*first), sample_rounds(logits.sigmoid(), boxes, targets))
    assert all(torch.equal(a, b) for a, b in zip(found, match(*first), strict=True))
    assert torch.equal(samples.positive, positive)
    assert torch.equal(samples.negative, ~near & targets.valid[..., None])
