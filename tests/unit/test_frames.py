"""Frames of files: the same pixels as PIL's, upright, and an error for what is no whole image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from idol_core.data.frames import read_frame
from idol_core.errors import Integrity, Missing

NOISE = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE).resize((131, 97), Image.Resampling.BICUBIC)


def by_pil(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_decoded_as_pil_does(tmp_path, subsampling, progressive, mode):
    path = tmp_path / "frame.jpg"
    PICTURE.convert(mode).save(path, quality=80, subsampling=subsampling, progressive=progressive)
    frame = read_frame(path)
    assert (frame.shape, frame.dtype) == ((97, 131, 3), np.uint8)
    np.testing.assert_array_equal(frame, by_pil(path))


def test_other_images_and_jpeg_under_another_name(tmp_path):
    PICTURE.save(tmp_path / "frame.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "frame.png"), np.array(PICTURE))
    PICTURE.save(tmp_path / "jpeg.png", format="JPEG")
    np.testing.assert_array_equal(read_frame(tmp_path / "jpeg.png"), by_pil(tmp_path / "jpeg.png"))


def test_a_turned_picture_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    PICTURE.save(tmp_path / "turned.jpg", exif=exif)
    np.testing.assert_array_equal(read_frame(tmp_path / "turned.jpg"), np.rot90(by_pil(tmp_path / "turned.jpg"), -1))


@pytest.mark.parametrize("cut", [2, 500, 20])
def test_a_file_cut_short_is_an_error(tmp_path, cut):
    path = tmp_path / "frame.jpg"
    PICTURE.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:cut] if cut == 20 else content[:-cut])
    with pytest.raises(Integrity, match="decoded"):
        read_frame(path)
    path.unlink()
    with pytest.raises(Missing):
        read_frame(path)


def test_stray_bytes_are_put_up_with_as_pil_does(tmp_path):
    path = tmp_path / "frame.jpg"
    PICTURE.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\x00\x17\x99" + content[-2:])
    np.testing.assert_array_equal(read_frame(path), by_pil(path))
