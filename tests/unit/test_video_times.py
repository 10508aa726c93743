"""Times, damage and colors of videos: what files of phones, cameras and broken discs hold is what is read."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image, features

from idol_core.data.image_files import images_in
from idol_core.errors import Integrity, Missing
from idol_core.video.clips import image_clip
from idol_core.video.clock import FrameClock
from idol_core.video.files import probe_video, read_timed_video, read_video, unheard
from idol_core.video.writer import video_file, write_video
from tests.unit.tiled_pictures import write_tiled

NOISE = np.random.default_rng(0).integers(-40, 40, (8, 96, 128, 3))


def frames(count=8, *, noise=False):
    """A bright block that wanders over a gradient."""
    y, x = np.mgrid[:96, :128]
    made = []
    for t in range(count):
        frame = np.stack([2 * x, 2 * y, np.full_like(x, 90)], -1)
        frame[24:54, 8 + 6 * t : 40 + 6 * t] = (240, 200, 30)
        made.append(np.clip(frame + (NOISE[t] if noise else 0), 0, 255).astype(np.uint8))
    return made


def encode(path, pictures, *, codec="libx264", rate=10, gop=12, b_frames=0, pts=None, unit=None, options=None, **more):
    """Write pictures in whatever form a test needs; `pts` in units of `unit` seconds."""
    with av.open(str(path), "w", options=options or {}, **more) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", gop
        stream.codec_context.max_b_frames = b_frames
        if unit:
            stream.codec_context.time_base = unit
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[i], unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def times(path):
    return [frame.seconds for frame in read_timed_video(path)]


# ---------------------------------------------------------------------------------------------------- display matrices


def shown_by(matrix, picture):
    """Pixel by pixel: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix
    ys, xs = np.mgrid[: picture.shape[0], : picture.shape[1]]
    x, y = a * xs + c * ys, b * xs + d * ys
    x, y = x - x.min(), y - y.min()
    out = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    out[y, x] = picture
    return out


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0),
        (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0),
    ],
)  # fmt: skip
def test_a_display_matrix_turns_and_mirrors(tmp_path, matrix):
    picture = np.full((96, 128, 3), 40, np.uint8)
    picture[:24, :32], picture[-24:, :32], picture[:24, -32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = tmp_path / "a.mp4"
    encode(path, [picture] * 2)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    a, b, c, d = (v << 16 for v in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    got, wanted = next(read_video(path)), shown_by(matrix, picture)
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).mean() < 8


# ---------------------------------------------------------------------------------------------------- edit lists, times


@pytest.mark.parametrize("gop", [4, 50])
def test_frames_that_an_edit_list_hides_are_not_missed(tmp_path, gop):
    encode(tmp_path / "full.mp4", frames(14), gop=gop)
    with av.open(str(tmp_path / "full.mp4")) as full, av.open(str(tmp_path / "start.mp4"), "w") as cut:
        film = full.streams.video[0]
        copy = cut.add_stream_from_template(film)
        for packet in full.demux(film):
            if packet.dts is not None:
                shift = int(Fraction(6, 10) / film.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                cut.mux(packet)
    content = bytearray((tmp_path / "full.mp4").read_bytes())
    at = content.index(b"elst") + 12
    content[at : at + 4] = struct.pack(">I", 800)  # milliseconds
    (tmp_path / "end.mp4").write_bytes(content)
    for name in ("start", "end"):
        assert times(tmp_path / f"{name}.mp4") == pytest.approx([t / 10 for t in range(8)])


def test_a_trimmed_video_that_is_cut_is_cut(tmp_path):
    encode(tmp_path / "full.mp4", frames(14), options={"movflags": "faststart"})
    content = bytearray((tmp_path / "full.mp4").read_bytes())
    at = content.index(b"elst") + 12
    content[at : at + 4] = struct.pack(">I", 800)
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(Integrity, match="cut short"):
        list(read_video(tmp_path / "cut.mp4"))


SHOWN = [0, 40, 80, 120, 1280, 2280, 3280, 6280]  # milliseconds


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_come_at_their_own_times(tmp_path, ending):
    encode(tmp_path / f"a.{ending}", frames(), rate=25, pts=SHOWN, unit=Fraction(1, 1000), b_frames=2)
    assert times(tmp_path / f"a.{ending}") == pytest.approx([t / 1000 for t in SHOWN], abs=1e-3)


@pytest.mark.parametrize("name", ["a.avi", "a.h264", "a.ts", "a.mov", "a.webm", "a.flv"])
def test_even_frames_come_evenly_whatever_the_container_keeps(tmp_path, name):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    encode(tmp_path / name, frames(), b_frames=0 if name == "a.webm" else 2, codec=codec)
    assert times(tmp_path / name) == pytest.approx([t / 10 for t in range(8)], abs=2e-3)
    assert probe_video(tmp_path / name).rate == pytest.approx(10)


@pytest.mark.parametrize("rate", [0.2, 1 / 60, 23.976, 240])
def test_any_rate_can_be_written(tmp_path, rate):
    write_video(tmp_path / "a.mp4", frames(), rate=rate)
    assert times(tmp_path / "a.mp4") == pytest.approx([t / rate for t in range(8)], rel=1e-4)


def test_times_of_their_own_can_be_written(tmp_path):
    with video_file(tmp_path / "a.mp4", rate=25) as file:
        for frame, shown in zip(frames(), SHOWN, strict=True):
            file.add(frame, shown / 1000)
    assert times(tmp_path / "a.mp4") == pytest.approx([t / 1000 for t in SHOWN], abs=1e-4)


def test_frame_times_always_increase():
    clock = FrameClock(0.04)
    shown = [100.0, 100.04, 100.04, 100.03, None, 100.2, 3.0, 3.04, None]
    wanted = [0.0, 0.04, 0.041, 0.042, 0.082, 0.2, 0.24, 0.28, 0.32]
    assert [clock(t) for t in shown] == pytest.approx(wanted)
    late = FrameClock(0.5)
    assert [late(t) for t in (None, None, 7.0, 8.0)] == pytest.approx([0.0, 0.5, 1.0, 2.0])


# ------------------------------------------------------------------------------------------------------------- damage


def told(path):
    found = []
    given = list(read_timed_video(path, on_damage=found.append))
    return given, found


def test_a_frame_that_was_patched_over_is_given_and_told(tmp_path):
    encode(tmp_path / "a.mp4", frames(noise=True), gop=50)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(b"mdat") + 3000
    content[at : at + 150] = bytes(150)
    (tmp_path / "b.mp4").write_bytes(content)
    given, found = told(tmp_path / "b.mp4")
    assert len(given) == 8
    assert [damage.frame for damage in found] == [0]
    assert "damaged" in found[0].what
    assert told(tmp_path / "a.mp4")[1] == []


def test_a_frame_that_can_not_be_decoded_is_left_out_and_told(tmp_path):
    encode(tmp_path / "a.mp4", frames(noise=True), gop=50)
    with av.open(str(tmp_path / "a.mp4")) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][5]
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    content[place : place + 1000] = b"\xff" * 1000
    (tmp_path / "b.mp4").write_bytes(content)
    given, found = told(tmp_path / "b.mp4")
    assert [damage.frame for damage in found] == [5]
    assert "left out" in found[0].what
    assert [frame.seconds for frame in given] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7])  # its time is kept


def test_a_packet_lost_on_the_way_cuts_nothing_short(tmp_path):
    encode(tmp_path / "a.ts", frames(noise=True), format="mpegts", gop=2)
    content = bytearray((tmp_path / "a.ts").read_bytes())
    at = len(content) // 2 // 188 * 188
    del content[at : at + 188]
    (tmp_path / "b.ts").write_bytes(content)
    given, found = told(tmp_path / "b.ts")
    assert len(given) == 8
    assert {damage.frame for damage in found} <= {2, 3, 4}
    assert found


def test_a_recording_of_a_broadcast_ends_where_it_ends(tmp_path):
    encode(tmp_path / "a.ts", frames(noise=True), format="mpegts", gop=2)
    content = (tmp_path / "a.ts").read_bytes()
    for lost in range(1, 40):
        (tmp_path / "b.ts").write_bytes(content[: -lost * 188])
        given, found = told(tmp_path / "b.ts")
        assert len(given) in (7, 8)
        assert len(given) == 7 or found


def test_a_damaged_frame_of_motion_jpeg_is_told(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for frame in frames(noise=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuvj420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.avi")) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][5]
    content = bytearray((tmp_path / "a.avi").read_bytes())
    content[place + 1500 : place + 1600] = np.random.default_rng(0).integers(0, 255, 100, np.uint8).tobytes()
    (tmp_path / "b.avi").write_bytes(content)
    assert told(tmp_path / "a.avi")[1] == []
    given, found = told(tmp_path / "b.avi")
    assert len(given) == 8
    assert [damage.frame for damage in found] == [5]


def test_a_video_of_which_no_frame_decodes_is_refused(tmp_path):
    encode(tmp_path / "a.mp4", frames(noise=True))
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    size = int.from_bytes(content[start - 8 : start - 4])
    content[start : start + size - 8] = b"\xff" * (size - 8)
    (tmp_path / "b.mp4").write_bytes(content)
    with pytest.raises(Integrity, match="no frame can be decoded"):
        list(read_video(tmp_path / "b.mp4"))


# -------------------------------------------------------------------------------------------- streams, names and tags


def test_the_film_is_read_not_the_picture_attached_to_it(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = Disposition.attached_pic
        film = container.add_stream("libx264", rate=10)
        film.width, film.height, film.pix_fmt = 128, 96, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        for frame in frames():
            container.mux(film.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(film.encode(None))
    assert [frame.shape for frame in read_video(path)] == [(96, 128, 3)] * 8


def test_a_picture_attached_to_music_is_not_taken_for_a_video(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
    with pytest.raises(Integrity, match="no video stream"):
        probe_video(path)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_a_picture_in_tiles_is_whole_or_refused_and_a_film_is_not_its_title_picture(tmp_path):
    red, blue = (Image.new("RGB", (64, 64), color) for color in ("red", "blue"))
    write_tiled(tmp_path / "photo.heic", [red, blue])
    with pytest.raises(Integrity, match="stored in tiles"):  # FFmpeg gives the first tile for the picture
        probe_video(tmp_path / "photo.heic")
    (tmp_path / "photo.heic").rename(tmp_path / "photo.avif")
    (whole,) = image_clip(images_in(tmp_path), name="photo").read(unheard)
    assert whole.pixels.shape == (64, 128, 3)
    assert np.abs(whole.pixels[32, [10, 120]].astype(int) - [[255, 0, 0], [0, 0, 255]]).max() < 30
    red.save(tmp_path / "film.avif", save_all=True, append_images=[blue, red], duration=200)
    assert len(list(read_video(tmp_path / "film.avif"))) == 3
    film = list(image_clip([tmp_path / "film.avif"], name="film").read(unheard))
    assert [round(frame.seconds, 3) for frame in film] == [0, 0.2, 0.4]
    assert film[1].pixels[32, 32].argmax() == 2


def test_text_files_are_not_taken_for_videos(tmp_path):
    (tmp_path / "notes.txt").write_text("hello\n" * 1000)  # FFmpeg would draw it
    (tmp_path / "drawing.mp4").write_text("<svg></svg>")
    for name in ("notes.txt", "drawing.mp4"):
        with pytest.raises(Integrity):
            probe_video(tmp_path / name)


def test_tags_need_not_be_utf_8(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "QQQQ"
        film = container.add_stream("libx264", rate=10)
        film.metadata["title"] = "ZZZZ"
        film.width, film.height, film.pix_fmt = 128, 96, "yuv420p"
        for frame in frames(3):
            container.mux(film.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(film.encode(None))
    content = path.read_bytes()
    assert b"QQQQ" in content
    path.write_bytes(content.replace(b"QQQQ", b"\xe9\xff\xe8\xfe").replace(b"ZZZZ", b"\xe9\xff\xe8\xfe"))
    assert len(list(read_video(path))) == 3


@pytest.mark.parametrize("name", ["12:30.mp4", "http:x.mp4", "concat:a.mp4", "a%03d.mp4", "pipe:"])
def test_names_are_files_and_never_protocols(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(Path(name), frames(3), rate=6)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(read_video(Path(name)))) == 3
    with pytest.raises(Missing):
        next(read_video(Path("13:30.mp4")))


# -------------------------------------------------------------------------------------------------------------- colors


@pytest.mark.parametrize(("height", "matrix"), [(96, 6), (720, 1)])
def test_colors_of_written_files_are_named_and_right(tmp_path, height, matrix):
    bars = np.zeros((height, 160, 3), np.uint8)
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 60), (60, 140, 90)]
    for i, color in enumerate(colors):
        bars[:, 32 * i : 32 * i + 32] = color
    write_video(tmp_path / "a.mp4", [bars] * 2, rate=6)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert int(frame.colorspace) == matrix
    assert int(frame.color_range) == 1
    seen = next(read_video(tmp_path / "a.mp4"))
    for i, color in enumerate(colors):
        assert np.abs(seen[height // 2, 32 * i + 16].astype(int) - color).max() <= 6


def test_high_definition_that_does_not_name_its_matrix_is_read_as_players_do(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=6)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        red = np.full((720, 1280, 3), (200, 40, 40), np.uint8)
        frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.colorspace = 2  # unspecified
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(next(read_video(tmp_path / "a.mp4"))[300, 600].astype(int) - (200, 40, 40)).max() <= 5
