"""Random colors: what each part does, and that the frames of a pair share them."""

import dataclasses

import numpy as np
import torch
from numpy.random import default_rng
from torchvision.transforms.v2 import functional as F

from idol_core.config import ColorConfig, CropConfig, InputConfig
from idol_core.data.colors import draw_colors, recolor
from idol_core.data.frames import FrameReader
from idol_core.data.pairs import draw_pseudo_pair, draw_video_pair
from idol_core.data.samples import LabelledFrames
from tests.unit.data_sets import small_videos

STILL = ColorConfig(probability=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
IMAGE = torch.from_numpy(default_rng(0).integers(60, 190, (3, 20, 30), dtype=np.uint8))


def changed(seed: int = 0, **parts: float) -> torch.Tensor:
    return recolor(IMAGE, draw_colors(default_rng(seed), dataclasses.replace(STILL, **parts)))


def factor(seed: int, order: int, width: float) -> float:
    """The draw of `order` (hue, saturation, contrast, brightness) after the one that decides whether to change."""
    drawn = default_rng(seed).random(5)[1 + order]
    return float(1 - width + 2 * width * drawn)


def test_without_color_settings_pixels_and_random_numbers_stay():
    rng = default_rng(7)
    assert draw_colors(rng, ColorConfig()) is None
    assert rng.random() == default_rng(7).random(), "a recipe without colors keeps its order of random numbers"
    assert recolor(IMAGE, None) is IMAGE
    assert torch.equal(changed(), IMAGE)


def test_brightness_and_saturation_are_torchvision_s():
    for seed in range(5):
        brighter = F.adjust_brightness(IMAGE, factor(seed, 3, 0.3))
        assert (changed(seed, brightness=0.3).int() - brighter.int()).abs().max() <= 1
        duller = F.adjust_saturation(IMAGE, factor(seed, 1, 0.8))
        assert (changed(seed, saturation=0.8).int() - duller.int()).abs().max() <= 2  # which cuts off fractions twice


def test_contrast_keeps_the_middle_and_hue_keeps_the_sum():
    spread = changed(3, contrast=0.5).float() - 127.5
    assert torch.allclose(spread, (IMAGE.float() - 127.5) * factor(3, 2, 0.5), atol=0.5 + 1e-3)
    turned = changed(3, hue=0.5)
    assert (turned.float().sum(0) - IMAGE.float().sum(0)).abs().max() <= 2
    assert (turned.int() - IMAGE.int()).abs().max() > 30
    grey = IMAGE[:1].expand(3, -1, -1)
    assert torch.equal(recolor(grey, draw_colors(default_rng(3), dataclasses.replace(STILL, hue=0.5))), grey)


def test_the_probability_is_the_share_of_recolored_items():
    drawn = [draw_colors(default_rng(k), dataclasses.replace(STILL, probability=0.3)) for k in range(500)]
    assert 0.25 < np.mean([colors is not None for colors in drawn]) < 0.35


def test_the_frames_of_a_pair_change_alike(tmp_path):
    dataset = small_videos(tmp_path)
    frames = LabelledFrames(dataset, FrameReader(keep=False))
    plain = InputConfig(short_sides=(48,), max_size=64, flip=0.0, crop=CropConfig(probability=0.0))
    colorful = dataclasses.replace(plain, color=ColorConfig(probability=1.0))
    before = draw_pseudo_pair(default_rng(1), frames, plain, 2, 0)
    of_image = draw_pseudo_pair(default_rng(1), frames, colorful, 2, 0)
    of_video = draw_video_pair(default_rng(1), frames, colorful, 2)[:2]  # of one frame, which pairs with itself
    for key, ref in (of_image, of_video):
        assert torch.equal(key.image, ref.image)
        assert not torch.equal(key.image, before[0].image)
        assert torch.equal(key.masks, before[0].masks)
