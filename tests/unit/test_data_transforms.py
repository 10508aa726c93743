"""Geometry of augmentation: sizes, crops, pixels and masks against PIL, and how instances reach a batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from PIL import Image
from torchvision.transforms.v2 import functional as F

from idol_core.config import CropConfig, InputConfig
from idol_core.data.annotations import rle
from idol_core.data.collate import Sample, collate_images, collate_pairs
from idol_core.data.masks import nearest, sample_masks
from idol_core.data.transforms import (
    Geometry,
    draw_clip_geometry,
    draw_crop,
    draw_image_geometry,
    resize_for_test,
    short_side_size,
    transform_image,
)
from idol_core.errors import Integrity

CONFIG = InputConfig()
sides = st.integers(1, 40)


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((720, 1280), 480, 768, (432, 768)),
        ((1280, 720), 480, 768, (768, 432)),
        ((480, 640), 480, 768, (480, 640)),
        ((100, 100), 320, 768, (320, 320)),
        ((427, 640), 320, 1333, (320, 480)),
        ((500, 333), 352, None, (529, 352)),
        ((8, 5120), 96, 128, (1, 128)),
    ],
)
def test_short_side_sizes(size, short, longest, expected):
    assert short_side_size(size, short, longest) == expected


def test_crops_span_the_absolute_range():
    crops = np.array([draw_crop(default_rng(k), (500, 1000), (384, 600)) for k in range(3000)])
    top, left, height, width = crops.T
    assert (height.min(), height.max()) == (384, 500)
    assert (width.min(), width.max()) == (384, 600)
    assert (top + height).max() == 500
    assert (left + width).max() == 1000
    assert top.min() == left.min() == 0
    assert draw_crop(default_rng(0), (90, 80), (384, 600)) == (0, 0, 90, 80)


def test_a_clip_shares_flip_and_scale_and_crops_each_frame_by_itself():
    clips = [draw_clip_geometry(default_rng(k), (720, 1280), CONFIG) for k in range(400)]
    assert all(a.flip == b.flip and a.resize is b.resize is None for a, b in clips)
    assert all((a.crop is None) == (b.crop is None) for a, b in clips)
    cropped = [(a, b) for a, b in clips if a.crop]
    assert 0.4 < len(cropped) / len(clips) < 0.6
    assert 0.4 < np.mean([a.flip for a, _ in clips]) < 0.6
    assert sum(a.crop == b.crop for a, b in cropped) == 0
    whole = [(a, b) for a, b in clips if not a.crop]
    assert all(a.size == b.size for a, b in whole)
    assert {min(a.size) for a, _ in whole} == {min(short_side_size((720, 1280), s, 768)) for s in CONFIG.short_sides}


def test_an_image_is_resized_before_it_is_cropped():
    drawn = [draw_image_geometry(default_rng(k), (480, 640), CONFIG) for k in range(400)]
    assert {min(g.resize) for g in drawn if g.crop} == set(CONFIG.crop.resize)
    assert all((g.resize is None) == (g.crop is None) for g in drawn)
    for g in drawn:
        if g.crop:
            assert 384 <= g.crop[2] <= 600
            assert g.crop[0] + g.crop[2] <= g.resize[0]
            assert g.crop[1] + g.crop[3] <= g.resize[1]
        assert max(g.size) <= CONFIG.max_size
    never = dataclasses.replace(CONFIG, crop=CropConfig(probability=0.0), flip=0.0)
    assert all(
        not g.flip and not g.crop for g in (draw_image_geometry(default_rng(k), (48, 64), never) for k in range(50))
    )


def test_pixels_are_those_of_pil():
    image = default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    geometry = Geometry(resize=(45, 60), crop=(5, 7, 30, 40), size=(66, 88), flip=True)
    expected = Image.fromarray(image).resize((60, 45), Image.Resampling.BILINEAR).crop((7, 5, 47, 35))
    expected = np.asarray(expected.resize((88, 66), Image.Resampling.BILINEAR))[:, ::-1]
    found = transform_image(torch.from_numpy(image).permute(2, 0, 1), geometry).permute(1, 2, 0).numpy()
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_frames_have_the_pixels_and_the_layout_of_torchvision(layout):
    generator = torch.Generator().manual_seed(0)
    for size, new, crop, last in (
        ((40, 70), (45, 60), (5, 7, 30, 40), (66, 88)),
        ((30, 20), None, (0, 3, 30, 10), (9, 11)),
        ((17, 33), (17, 33), None, (40, 25)),
    ):
        image = torch.randint(0, 256, (1, 3, *size), generator=generator, dtype=torch.uint8)
        image = image.contiguous(memory_format=layout)[0]
        expected = F.resize(image, list(new or size), antialias=True)
        expected = F.resize(F.crop(expected, *crop) if crop else expected, list(last), antialias=True)
        found = transform_image(image, Geometry(new, crop, last, flip=False))
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
        assert torch.equal(transform_image(image, Geometry(new, crop, last, flip=True)), F.horizontal_flip(expected))


@given(source=st.integers(1, 300), target=st.integers(1, 300))
@settings(deadline=None)
def test_nearest_pixels_are_those_of_pil(source, target):
    line = Image.fromarray(np.arange(source, dtype=np.int32)[None])
    expected = np.asarray(line.resize((target, 1), Image.Resampling.NEAREST))[0]
    on_border = (2 * np.arange(target) + 1) * source % (2 * target) == 0  # where rounding decides in PIL
    assert np.array_equal(nearest(source, target)[~on_border], expected[~on_border])
    assert (np.abs(nearest(source, target) - expected) <= on_border).all()


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return mask[np.ix_(nearest(mask.shape[0], size[0]), nearest(mask.shape[1], size[1]))]


@given(data=st.data(), height=sides, width=sides, flip=st.booleans())
@settings(deadline=None, max_examples=200)
def test_masks_from_runs_equal_masks_from_pixels(data, height, width, flip):
    rng = default_rng(data.draw(st.integers(0, 2**32)))
    size, resize, crop = (height, width), None, None
    if data.draw(st.booleans()):
        resize = (data.draw(sides), data.draw(sides))
    if data.draw(st.booleans()):
        crop = draw_crop(rng, resize or size, (1, 30))
    geometry = Geometry(resize, crop, (data.draw(sides), data.draw(sides)), flip)
    masks = rng.random((3, height, width)) < rng.choice((0.02, 0.5, 0.98))
    masks[1] = False
    sampled = sample_masks([*(rle.encode(m) for m in masks), None], size, geometry)
    for mask, found, box, present in zip([*masks, np.zeros_like(masks[0])], *sampled, strict=True):
        expected = resized(mask, resize) if resize else mask
        if crop:
            expected = expected[crop[0] : crop[0] + crop[2], crop[1] : crop[1] + crop[3]]
        expected = resized(expected, geometry.size)
        expected = expected[:, ::-1] if flip else expected
        assert np.array_equal(found, expected)
        ys, xs = expected.nonzero()
        assert present == bool(len(ys))
        assert box.tolist() == ([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(ys) else [0, 0, 0, 0])


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 70), st.floats(0, 1))
@settings(deadline=None)
def test_run_lengths_are_read_from_the_compressed_string(seed, height, width, share):
    mask = default_rng(seed).random((height, width)) < share
    counts = rle.encode(mask)["counts"]
    assert rle.run_lengths(counts, (height, width)).tolist() == rle.uncompressed(mask)["counts"]


@pytest.mark.parametrize("counts", [b"", b"abc", b"0", b"\xff\xff"])
def test_corrupt_strings_are_refused(counts):
    with pytest.raises(Integrity, match="20 x 30"):
        rle.run_lengths(counts, (20, 30))


def test_the_test_size_keeps_the_aspect():
    assert resize_for_test(np.zeros((720, 1280, 3), np.uint8), CONFIG).shape == (3, 480, 853)
    assert resize_for_test(np.zeros((400, 3000, 3), np.uint8), CONFIG).shape == (3, 178, 1333)


def sample(height: int, width: int, present: list[bool]) -> Sample:
    n = len(present)
    masks = torch.zeros(n, height, width, dtype=torch.bool)
    boxes = torch.zeros(n, 4)
    for k in range(n):
        masks[k, 2 + k : 12 + k, 4:20] = True
        boxes[k] = torch.tensor([4.0, 2 + k, 20, 12 + k])
    image = torch.full((3, height, width), 200, dtype=torch.uint8)
    return Sample(image, torch.arange(n) + 5, boxes, masks, torch.tensor(present, dtype=torch.bool))


def test_instances_absent_in_key_leave_both_frames():
    pairs = [
        (sample(40, 70, [True, False, True]), sample(50, 30, [False, True, True])),
        (sample(20, 40, [True]), sample(20, 40, [True])),
    ]
    batch = collate_pairs(pairs, config=CONFIG, sample_ids=["a", "b"])
    assert batch.frames.images.shape == (4, 3, 64, 96)
    assert batch.frames.sizes.tolist() == [[40, 70], [50, 30], [20, 40], [20, 40]]
    assert batch.key.valid.tolist() == [[True, True], [True, False]]
    assert batch.ref.valid.tolist() == [[False, True], [True, False]]
    assert batch.key.labels.tolist() == [[5, 7], [5, 0]]
    assert batch.ref.labels.tolist() == [[0, 7], [5, 0]]
    assert torch.allclose(batch.key.boxes[0, 1], torch.tensor([12 / 70, 9 / 40, 16 / 70, 10 / 40]))
    assert torch.allclose(batch.ref.boxes[0, 1], torch.tensor([12 / 30, 9 / 50, 16 / 30, 10 / 50]))
    padded = torch.zeros(64, 96, dtype=torch.bool)
    padded[4:14, 4:20] = True
    assert torch.equal(batch.key.masks[0, 1], padded[2::4, 2::4])
    assert not batch.ref.masks[0, 0].any()


def test_batches_without_instances_are_possible():
    batch = collate_images([sample(40, 70, [False, False]), sample(32, 32, [])], config=CONFIG)
    assert batch.key.labels.shape == (2, 0)
    assert batch.key.masks.shape == (2, 0, 16, 24)
    assert batch.ref is None
