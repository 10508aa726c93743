"""Frames of files: the same pixels as PIL's, upright, and an error for what is no whole image."""

from __future__ import annotations

import io
import os
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from idol_core.data.deep_check import VideoTask, check_video
from idol_core.data.frames import MAX_PIXELS, DamagedFrame, read_frame, read_pages
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


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_or_mirrored_picture_is_upright(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    PICTURE.save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_frame(path), upright)
    if orientation == 6:  # to be turned right by 90 degrees
        assert np.abs(upright.astype(int) - np.rot90(np.array(PICTURE), -1)).mean() < 30


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


def test_stray_bytes_are_tolerated_as_pil_does(tmp_path):
    path = tmp_path / "frame.jpg"
    PICTURE.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\x00\x17\x99" + content[-2:])
    np.testing.assert_array_equal(read_frame(path), by_pil(path))


def damaged(picture=PICTURE, *, where=0.4, lost=120, **options):
    """A JPEG in whose middle `lost` bytes are missing."""
    written = io.BytesIO()
    picture.resize((400, 300)).save(written, "JPEG", quality=95, **options)
    content = written.getvalue()
    at = int(len(content) * where)
    return content[:at] + content[at + lost :]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_damaged_inside_is_used_and_told(tmp_path, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "frame.jpg"
    path.write_bytes(damaged(PICTURE.convert(mode), exif=exif))
    told = []
    frame = read_frame(path, on_damage=told.append)
    assert frame.shape == ((300, 400, 3) if orientation == 1 else (400, 300, 3))
    assert len(told) == 1
    assert told[0].startswith("damaged: Corrupt JPEG data")
    with pytest.warns(DamagedFrame, match=r"frame\.jpg: damaged"):
        read_frame(path)


@pytest.mark.parametrize("level", [0, 6])
def test_a_png_whose_pixels_changed_is_refused(tmp_path, level):
    path = tmp_path / "frame.png"
    PICTURE.save(path, compress_level=level)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 1000] ^= 16
    path.write_bytes(content)
    with pytest.raises(Integrity, match="decoded"):
        read_frame(path)


def test_a_deep_check_lists_damaged_frames(tmp_path):
    PICTURE.resize((400, 300)).save(tmp_path / "whole.jpg")
    (tmp_path / "bad.jpg").write_bytes(damaged())
    names = [str(tmp_path / name) for name in ("whole.jpg", "bad.jpg")]
    (broken,) = check_video(VideoTask(1, names, 300, 400))
    assert broken.where == names[1]
    assert broken.what.startswith("damaged")


RAMP = np.tile(np.arange(256, dtype=np.uint16), (4, 1))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_of_16_bits_is_scaled(tmp_path, ending):
    path = tmp_path / f"ramp.{ending}"
    Image.fromarray(RAMP * 257).save(path)
    np.testing.assert_array_equal(read_frame(path), np.repeat(RAMP[..., None], 3, axis=2))


def test_every_grey_of_16_bits_becomes_the_nearest_of_8(tmp_path):
    every = np.arange(2**16).reshape(256, 256)
    Image.fromarray(every.astype(np.uint16)).save(tmp_path / "every.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "every.png")[..., 0], np.round(every / 257))


def test_16_bits_that_use_only_12_are_told(tmp_path):
    heard = []
    for name, values in (("dark", RAMP * 16), ("full", RAMP * 257), ("black", RAMP * 0)):
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"{name}.png")
        read_frame(tmp_path / f"{name}.png", on_damage=heard.append)
    assert heard == ["nearly black: its 16-bit values reach only 4080 of 65535, so scale them up"]


def test_grey_of_16_bits_with_white_as_zero_is_no_negative(tmp_path):
    path = tmp_path / "ramp.tif"
    Image.fromarray(RAMP * 257).save(path, tiffinfo={262: 0})
    np.testing.assert_array_equal(read_frame(path)[..., 0], 255 - RAMP)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused_with_the_fix(tmp_path, kind):
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "ramp.tif")
    with pytest.raises(Integrity, match="32-bit") as caught:
        read_frame(tmp_path / "ramp.tif")
    assert "8 bits" in caught.value.fix


def png_of(width, height):
    """A PNG of any size in its header, and few pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10001, 50000, 2**31 - 1])
def test_pictures_that_would_fill_the_memory_are_refused(tmp_path, side):
    (tmp_path / "huge.png").write_bytes(png_of(side, side))
    with pytest.raises(Integrity, match=f"larger than {MAX_PIXELS:,} pixels"):
        read_frame(tmp_path / "huge.png")


@pytest.mark.parametrize("ending", ["tif", "png", "webp", "gif"])
def test_a_stack_is_refused_as_a_frame_and_read_as_pages(tmp_path, ending):
    shifted = [Image.fromarray(np.roll(np.array(PICTURE), 20 * i, axis=1)) for i in range(3)]
    path = tmp_path / f"stack.{ending}"
    times = {"duration": [100, 300, 500]} if ending != "tif" else {}
    lossless = {"lossless": True} if ending == "webp" else {}
    shifted[0].save(path, save_all=True, append_images=shifted[1:], **times, **lossless)
    with pytest.raises(Integrity, match="holds 3 pictures"):
        read_frame(path)
    pages = list(read_pages(path))
    assert [seconds for _, seconds in pages] == ([0.1, 0.3, 0.5] if times else [0.0] * 3)
    for (page, _), picture in zip(pages, shifted, strict=True):
        assert np.abs(page.astype(int) - np.array(picture)).mean() < (20 if ending == "gif" else 1e-9)


def test_the_default_image_of_an_animated_png_is_not_a_page(tmp_path):
    shifted = [Image.fromarray(np.roll(np.array(PICTURE), 20 * i, axis=1)) for i in range(3)]
    path = tmp_path / "a.png"
    shifted[0].save(path, save_all=True, append_images=shifted[1:], default_image=True, duration=100)
    pages = [page for page, _ in read_pages(path)]
    np.testing.assert_array_equal(pages, [np.array(picture) for picture in shifted[1:]])


def test_reduced_copies_and_previews_are_not_pages(tmp_path):
    PICTURE.save(tmp_path / "camera.jpg", format="MPO", save_all=True, append_images=[PICTURE.resize((20, 20))])
    assert read_frame(tmp_path / "camera.jpg").shape == (97, 131, 3)
    small = PICTURE.resize((40, 30))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    PICTURE.save(tmp_path / "pyramid.tif", save_all=True, append_images=[small])
    with Image.open(tmp_path / "pyramid.tif") as image:
        assert image.n_frames == 2
    np.testing.assert_array_equal(read_frame(tmp_path / "pyramid.tif"), np.array(PICTURE))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe", "endless", "folder"):
        with pytest.raises(Integrity, match="not a regular file"):
            read_frame(tmp_path / f"{name}.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(Integrity):
        read_frame(tmp_path / "loop.png")


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("V0/0.PNG", "v0/0.png"),
        ("v0/0.png", "v0\\0.png"),
        ("v0/é.png", unicodedata.normalize("NFD", "v0/é.png")),
        (unicodedata.normalize("NFD", "v0/É.png"), "v0/é.PNG"),
    ],
)
def test_the_error_names_the_file_that_is_there_under_nearly_that_name(tmp_path, there, asked):
    path = tmp_path / "frames" / there
    path.parent.mkdir(parents=True)
    PICTURE.save(path)
    with pytest.raises(Missing) as caught:
        read_frame(tmp_path / "frames" / asked)
    assert str(path) in caught.value.what
    with pytest.raises(Missing, match=r"^frame not found$"):
        read_frame(tmp_path / "frames" / "v0/1.png")
