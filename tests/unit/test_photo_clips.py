"""Clips composited from pictures with an alpha channel: exact masks, and no picture in both parts."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.photo_clips import CLASSES, Material, find_material, make_clip, parts_of
from idol_core.errors import Missing


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Four bright, opaque discs for each class, of a hue for each class, and five grey backgrounds."""
    folder = tmp_path_factory.mktemp("packed")
    for i, name in enumerate(CLASSES):
        (folder / "cutouts" / name).mkdir(parents=True)
        color = tuple(round(255 * v) for v in colorsys.hsv_to_rgb(i / len(CLASSES), 1, 1))
        for number in range(4):
            disc = Image.new("RGBA", (60 + number, 50))
            ImageDraw.Draw(disc).ellipse((0, 0, 59 + number, 49), fill=(*color, 255))
            disc.save(folder / "cutouts" / name / f"{number}.webp", lossless=True)
    (folder / "backgrounds").mkdir()
    for number in range(5):
        Image.new("RGB", (200, 150), (90 + number, 90, 90)).save(folder / "backgrounds" / f"{number}.jpg")
    return find_material(folder, folder)


def test_no_picture_is_in_both_parts_and_all_are_used(material: Material) -> None:
    train, val = (parts_of(material, 3)[part] for part in ("train", "val"))
    assert set(train.backgrounds).isdisjoint(val.backgrounds)
    assert set(train.backgrounds) | set(val.backgrounds) == set(material.backgrounds)
    for name, files in material.cutouts.items():
        assert set(train.cutouts[name]).isdisjoint(val.cutouts[name])
        assert set(train.cutouts[name]) | set(val.cutouts[name]) == set(files)
        assert len(val.cutouts[name]) >= 2  # look-alikes
    assert parts_of(material, 3) == parts_of(material, 3) != parts_of(material, 4)


@pytest.mark.parametrize("number", range(4))
def test_a_mask_is_where_its_object_is_on_top(material: Material, number: int) -> None:
    frames, tracks = make_clip(material, 6, [0, 0, number])
    again, _ = make_clip(material, 6, [0, 0, number])
    assert np.array_equal(frames, again)
    assert 2 <= len(tracks) <= 3
    masks = np.stack([mask for _, mask in tracks])
    assert masks.sum(0).max() == 1  # one object a pixel
    colors = np.stack(frames).astype(float)
    bright = colors.max(-1) - colors.min(-1) > 110  # more of a disc than of the grey behind it
    assert (bright == masks.any(0)).mean() > 0.985  # the rest is half transparent outlines
    for name, mask in tracks:
        hue = colorsys.hsv_to_rgb(list(CLASSES).index(name) / len(CLASSES), 1, 1)
        inside = colors[mask]
        near = np.abs(inside / 255 - hue).max(-1) < 0.35
        assert len(inside) == 0 or near.mean() > 0.9, name


def test_without_the_pictures_it_says_which_packages_have_them(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        find_material(tmp_path, tmp_path / "packed")
    assert "apt-get download tuxpaint-stamps-default" in caught.value.fix
    assert not (tmp_path / "packed").exists()
