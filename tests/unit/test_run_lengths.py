"""Overlaps from run lengths: equal to those of the pixels, whatever the masks; malformed strings are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from idol_core.data.annotations.rle import areas_of, check_counts, decode_counts
from idol_core.evaluation.track_iou import frame_areas, track_iou


def compress(runs):
    return coco_mask.frPyObjects({"size": [1, 1], "counts": list(runs)}, 1, 1)["counts"]


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@st.composite
def videos(draw):
    """Masks [n, T, H, W] of two sides, and where each is present [n, T]."""
    frames, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    sides = []
    for _ in range(2):
        shape = (draw(st.integers(0, 4)), frames, height, width)
        masks = draw(hnp.arrays(bool, shape, elements=st.booleans(), fill=st.booleans()))
        sides.append((masks, draw(hnp.arrays(bool, shape[:2]))))
    return sides


def tracks_of(masks, present):
    return [[encode(m) if p else None for m, p in zip(*row, strict=True)] for row in zip(masks, present, strict=True)]


@given(videos())
def test_track_iou_is_that_of_the_frames_side_by_side(sides):
    """A track's masks one after another are one long mask: intersections and unions add up."""
    strips, tracks, areas = [], [], []
    for masks, present in sides:
        shown = masks & present[:, :, None, None]
        strips.append(shown.reshape(len(masks), int(np.prod(masks.shape[1:]))))
        tracks.append(tracks_of(masks, present))
        sums = [frame_areas(track, *masks.shape[2:]) for track in tracks[-1]]
        areas.append(np.array(sums).reshape(masks.shape[:2]))
        np.testing.assert_array_equal(areas[-1], shown.sum((2, 3)))
    height, width = sides[0][0].shape[2:]
    iou = track_iou(*tracks, *areas, height=height, width=width)
    inter = (strips[0][:, None] & strips[1][None]).sum(-1)
    union = (strips[0][:, None] | strips[1][None]).sum(-1)
    np.testing.assert_array_equal(iou, inter / np.maximum(union, 1))


@given(st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=9), min_size=1, max_size=6))
def test_run_lengths_come_back_as_they_went_in(runs):
    values, first = decode_counts([compress(one) for one in runs])
    assert values.tolist() == [value for one in runs for value in one]
    assert first.tolist() == np.cumsum([0] + [len(one) for one in runs])[:-1].tolist()


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_every_encoded_mask_passes_the_check(mask):
    check_counts([encode(mask)], mask.size)


@pytest.mark.parametrize(
    "counts",
    [b"", b"\x01", "é".encode(), b"a", compress([10]), compress([200]), compress([40, 40, 40]), compress([120])[:1]],
)
def test_what_is_no_mask_of_the_size_is_refused(counts):
    with pytest.raises(ValueError, match=r"compressed RLE|add up"):
        check_counts([compress([50, 20, 30]), counts], 100)


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=3), st.integers(1, 60))
def test_bytes_of_any_kind_pass_or_are_refused(strings, pixels):
    try:
        check_counts(strings, pixels)
    except ValueError:
        return
    for counts in strings:  # whatever passes is a mask that pycocotools can read
        assert coco_mask.decode({"size": [pixels, 1], "counts": counts}).sum() <= pixels


def test_areas_of_videos_longer_than_255_frames():
    masks = np.random.default_rng(0).random((300, 5, 7)) < 0.3
    assert frame_areas([encode(mask) for mask in masks], 5, 7).tolist() == masks.sum((1, 2)).tolist()


@given(hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))))
def test_areas_from_run_lengths_are_those_of_the_pixels(masks):
    pixels = np.full(len(masks), masks[0].size)
    assert areas_of([encode(mask) for mask in masks], pixels).tolist() == masks.sum((1, 2)).tolist()


def test_run_lengths_that_only_add_up_modulo_a_machine_word_are_refused():
    with pytest.raises(ValueError, match=r"add up|compressed RLE"):
        areas_of([compress([2**31, 2**31, 2**31])], np.array([100]))
