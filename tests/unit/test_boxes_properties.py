"""Boxes: what must hold for any boxes, also those without area."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from idol_core.losses.detection import giou_loss, l1_loss
from idol_core.ops.boxes import area, cxcywh_to_xyxy, pairwise_giou, pairwise_iou, xyxy_to_cxcywh

# Sixteenths are exact in float32, and meet often: equal, touching, nested and empty boxes all occur.
COORDINATES = st.integers(0, 16).map(lambda n: n / 16) | st.floats(0, 1, width=32, allow_subnormal=False)


@st.composite
def boxes(draw: st.DrawFn, count: st.SearchStrategy[int] = st.integers(0, 6)) -> Tensor:
    """[n, 4] float32 xyxy in 0..1, right and bottom never before left and top."""
    corners = draw(hnp.arrays("float32", (draw(count), 2, 2), elements=COORDINATES))
    corners.sort(axis=1)
    return torch.from_numpy(corners).flatten(1)


@st.composite
def pairs_of_boxes(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    count = draw(st.integers(0, 6))
    return draw(boxes(st.just(count))), draw(boxes(st.just(count)))


@given(boxes())
def test_conversion_and_back(given_boxes):
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(given_boxes)), given_boxes, atol=1e-6, rtol=0)


@given(boxes(), boxes())
def test_overlaps_stay_in_their_ranges(a, b):
    iou, union = pairwise_iou(a, b)
    giou = pairwise_giou(a, b)
    assert iou.shape == union.shape == giou.shape == (len(a), len(b))
    assert ((iou >= 0) & (iou <= 1 + 1e-6)).all()
    assert ((giou >= -1 - 1e-6) & (giou <= iou + 1e-6)).all()
    assert (union >= torch.maximum(area(a)[:, None], area(b)[None]) - 1e-6).all()


@given(boxes(), boxes())
def test_overlaps_are_symmetric(a, b):
    torch.testing.assert_close(pairwise_iou(a, b)[0], pairwise_iou(b, a)[0].T, atol=0, rtol=0)
    torch.testing.assert_close(pairwise_giou(a, b), pairwise_giou(b, a).T, atol=0, rtol=0)


@given(boxes())
def test_a_box_overlaps_itself_wholly_unless_it_has_no_area(a):
    own = pairwise_iou(a, a)[0].diagonal()
    assert (own[area(a) > 1e-30] == 1).all()
    assert (own[area(a) == 0] == 0).all()


@given(boxes(), boxes(), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_scale_does_not_matter(a, b, scale):
    large = (area(a)[:, None] > 1e-6) & (area(b)[None] > 1e-6)
    before, after = pairwise_iou(a, b)[0], pairwise_iou(a * scale, b * scale)[0]
    torch.testing.assert_close(before[large], after[large], atol=1e-6, rtol=0)


@given(pairs_of_boxes())
def test_losses_of_corresponding_boxes(pair):
    ours, theirs = pair
    ours = ours.clone().requires_grad_()
    giou, l1 = giou_loss(ours, theirs), l1_loss(ours, theirs)
    assert ((giou >= -1e-6) & (giou <= 2 + 1e-6)).all()
    large = (area(ours) > 1e-3) & (area(theirs) > 1e-3)
    expected = 1 - pairwise_giou(ours, theirs).diagonal()
    torch.testing.assert_close(giou[large], expected[large], atol=1e-3, rtol=0)
    torch.testing.assert_close(l1, (ours - theirs).abs().sum(-1))
    (giou.sum() + l1.sum()).backward()
    assert torch.isfinite(ours.grad).all()
