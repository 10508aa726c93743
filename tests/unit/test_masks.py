"""Masks in original size: the run lengths are those of the plain chain of operations, bit for bit."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from idol_core.tracking.device_masks import encode_changes, mask_changes
from idol_core.tracking.masks import decode_masks, encode_masks


def plain(logits, size, original):
    enlarged = F.interpolate(logits[:, None], scale_factor=4, mode="bilinear", align_corners=False)
    inside = enlarged.sigmoid()[:, :, : size[0], : size[1]]
    return F.interpolate(inside, size=original, mode="nearest")[:, 0] > 0.5


@st.composite
def cases(draw):
    """Smooth, sparse or constant logits [n, h/4, w/4], a size within the padded one and any original size."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    height, width = draw(st.integers(1, 10)) * 8, draw(st.integers(1, 10)) * 8
    cells = draw(st.sampled_from([2, 5]))
    smooth = F.interpolate(torch.randn(4, 1, cells, cells, generator=generator), size=(height, width), mode="bicubic")
    logits = smooth[:, 0] * 4 + draw(st.sampled_from([-9.0, -2.0, 0.0, 9.0]))
    if draw(st.booleans()):
        logits = (logits * 8).round() / 8  # zeros occur
    if draw(st.booleans()):
        lone = torch.rand(logits.shape, generator=generator) < 0.01
        logits = torch.where(lone, logits.abs(), torch.full_like(logits, -0.5))
    size = tuple(draw(st.integers(max(1, 4 * side - 31), 4 * side)) for side in (height, width))
    return logits, size, (draw(st.integers(1, 400)), draw(st.integers(1, 400)))


@given(cases())
def test_run_lengths_are_those_of_the_plain_way(case):
    logits, size, original = case
    expected = plain(logits, size, original).numpy()
    counts = encode_masks(logits, size, original)
    assert counts == [coco_mask.encode(np.asfortranarray(m.astype(np.uint8)))["counts"] for m in expected]
    np.testing.assert_array_equal(decode_masks(counts, original), expected)


@given(cases())
def test_a_devices_changes_give_the_same_run_lengths(case):
    logits, size, original = case
    changes = mask_changes(logits, size, original).numpy()
    assert changes.shape == (len(logits), -(-original[0] * original[1] // 8))
    assert encode_changes(changes, original) == encode_masks(logits, size, original)


def test_the_least_positive_logits_are_outside():
    """Their sigmoid is .5 exactly in float32."""
    for value, inside in ((1e-8, False), (1e-6, True), (0.0, False)):
        counts = encode_masks(torch.full((1, 2, 2), value), (8, 8), (8, 8))
        assert decode_masks(counts, (8, 8)).all() == inside
        assert decode_masks(counts, (8, 8)).any() == inside


def test_zero_masks_encode_and_decode_to_nothing():
    assert mask_changes(torch.zeros(0, 4, 4), (16, 16), (9, 9)).shape == (0, 11)
    assert encode_masks(torch.zeros(0, 4, 4), (16, 16), (9, 9)) == []
    assert decode_masks([], (9, 7)).shape == (0, 9, 7)
