"""Videos written and read back, and files that are none."""

from __future__ import annotations

import av
import numpy as np
import pytest

from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.video.files import probe_video, read_video
from idol_core.video.writer import write_video


def moving_square(count: int, height: int, width: int) -> list[np.ndarray]:
    frames = [np.full((height, width, 3), 40, np.uint8) for _ in range(count)]
    for t, frame in enumerate(frames):
        frame[10:30, 5 + 2 * t : 25 + 2 * t] = (220, 30, 90)
    return frames


@pytest.mark.parametrize(("height", "width"), [(48, 80), (49, 81), (33, 64)])
def test_frames_survive(tmp_path, height, width):
    frames = moving_square(9, height, width)
    assert write_video(tmp_path / "a.mp4", iter(frames), rate=6) == 9
    found = list(read_video(tmp_path / "a.mp4"))
    assert len(found) == 9
    assert found[0].shape == (height + height % 2, width + width % 2, 3)
    for a, b in zip(frames, found, strict=True):
        assert np.abs(a.astype(int) - b[:height, :width]).mean() < 6


def test_one_frame_is_a_video(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(1, 48, 80), rate=29.97)
    assert len(list(read_video(tmp_path / "a.mp4"))) == 1


def test_nothing_remains_of_a_video_that_failed(tmp_path):
    def failing():
        yield from moving_square(5, 48, 80)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_video(tmp_path / "a.mp4", failing(), rate=6)
    with pytest.raises(InvalidInput, match="no frames"):
        write_video(tmp_path / "b.mp4", [], rate=6)
    with pytest.raises(InvalidInput, match="frame 2 is 50 x 80"):
        write_video(tmp_path / "c.mp4", moving_square(2, 48, 80) + moving_square(1, 50, 80), rate=6)
    with pytest.raises(InvalidInput, match="16386x2 are too large for a video"):
        write_video(tmp_path / "d.mp4", [np.zeros((2, 16386, 3), np.uint8)], rate=6)
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_videos_are_named(tmp_path):
    with pytest.raises(Missing):
        next(read_video(tmp_path / "none.mp4"))
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(Integrity, match="cannot be read"):
        next(read_video(tmp_path / "text.mp4"))
    write_video(tmp_path / "whole.mp4", moving_square(60, 120, 160), rate=6)
    data = (tmp_path / "whole.mp4").read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(Integrity, match="after frame"):
            list(read_video(tmp_path / "cut.mp4"))


def test_a_video_cut_between_two_frames_is_cut(tmp_path):
    write_video(tmp_path / "whole.mp4", moving_square(20, 120, 160), rate=6)
    with av.open(str(tmp_path / "whole.mp4")) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: sorted(places)[12]])
    with pytest.raises(Integrity, match="after frame"):
        list(read_video(tmp_path / "cut.mp4"))


@pytest.mark.parametrize("ending", ["mkv", "webm"])
def test_a_matroska_that_is_cut_is_cut(tmp_path, ending):
    path = tmp_path / f"whole.{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=6) if ending == "webm" else container.add_stream("mpeg4", rate=6)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for frame in moving_square(60, 120, 160):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(list(read_video(path))) == 60
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(Integrity, match="cut short"):
        list(read_video(path))


def test_a_video_is_probed_for_its_frames_and_rate(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(9, 48, 80), rate=30000 / 1001)
    info = probe_video(tmp_path / "a.mp4")
    assert info.frames == 9
    assert info.rate == pytest.approx(29.97, abs=0.01)
