"""`idolctl predict` on small videos and pictures: what it writes, what it refuses, what it leaves behind."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import struct
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.torch import save_file

from idol_core.build import build_model
from idol_core.config import InputConfig, StageConfig, TrackerConfig, stage_to_dict
from idol_core.data.exchange.formats import FORMATS
from idol_core.video.files import read_timed_video, read_video
from idol_core.video.writer import video_file, write_video
from idol_core.weights import save_weights
from idolctl.app import main
from idolctl.prediction.sources import find_sources
from tests.cli.conftest import blocks
from tests.cli.mini import make_mini
from tests.processes import Started
from tests.unit.tiny import tiny_config


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Random weights, small and quick, that see something everywhere."""
    torch.manual_seed(0)
    network = tiny_config(num_classes=3, encoder_layers=1, decoder_layers=1)
    model = build_model(network)
    for head in model.decoder.class_heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.constant_(head.bias, -1.0)
    config = StageConfig(
        "toy", "tiny", 3, model=network, tracker=TrackerConfig(batch_frames=4),
        input=InputConfig(test_short_side=64, test_max_size=128),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    metadata = {"recipe": json.dumps(stage_to_dict(config)), "classes": '["cat", "dog", "sea lion"]'}
    save_weights(path, model.state_dict(), metadata)
    return path


def clip(count=7, height=48, width=80):
    """A red corner at the top left, a green square that moves."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    frames[:, :16, :16] = (220, 20, 20)
    for t, frame in enumerate(frames):
        frame[height // 2 : height // 2 + 14, 10 + 3 * t : 24 + 3 * t] = (20, 200, 40)
    return list(frames)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def predict(folder, weights, capsys):
    """Run the command in this process; returns exit code, stdout and stderr."""

    def run(source, *more):
        code = main(["predict", str(source), "--weights", str(weights), "--device", "cpu", *map(str, more)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def refusal(result, code):
    """The one three-line error of a command that left nothing behind."""
    assert result[0] == code, result
    (error,) = blocks(result[2])
    assert set(error) == {"error", "where", "fix"}
    assert not list(Path("predictions").rglob("*.*"))
    return error


def test_a_video_becomes_four_kinds_of_files(predict, folder):
    write_video(folder / "walk.mp4", clip(), rate=12)
    code, out, err = predict("walk.mp4", "--threshold", 0.05)
    assert code == 0, err
    made = folder / "predictions" / "walk"
    assert sorted(p.name for p in made.iterdir()) == ["contact.png", "overlay.mp4", "results.json", "tracks"]
    assert "frames/s" in err
    assert str(Path("predictions/walk/overlay.mp4")) in out

    results = json.loads((made / "results.json").read_text())
    assert results
    assert len({entry["track"] for entry in results}) == len(results)  # one class per track
    assert [entry["score"] for entry in results] == sorted((entry["score"] for entry in results), reverse=True)
    for entry in results:
        assert entry["video_id"] == 1
        assert entry["score"] >= 0.05
        assert entry["category"] == ["cat", "dog", "sea lion"][entry["category_id"] - 1]
        assert len(entry["segmentations"]) == 7
        assert all(s["size"] == [48, 80] for s in entry["segmentations"] if s)

    tables = {path.name: list(csv.DictReader(path.open())) for path in (made / "tracks").iterdir()}
    names = {f"track-{e['track']}-{e['category'].replace(' ', '-')}.csv": e for e in results}
    assert set(tables) == set(names)
    for name, rows in tables.items():
        present = [t for t, s in enumerate(names[name]["segmentations"]) if s]
        assert [int(row["frame"]) for row in rows] == present
        assert {row["class"] for row in rows} == {names[name]["category"]}
        for row in rows:
            assert float(row["seconds"]) == pytest.approx(int(row["frame"]) / 12, abs=1e-3)
            assert 0 <= int(row["x0"]) <= int(row["x1"]) <= 80
            assert int(row["area"]) <= (int(row["x1"]) - int(row["x0"])) * (int(row["y1"]) - int(row["y0"]))

    overlay = list(read_video(made / "overlay.mp4"))
    assert len(overlay) == 7
    assert overlay[0].shape == (6 * 48, 6 * 80, 3)  # small frames are enlarged, so that labels can be read
    with av.open(str(made / "overlay.mp4")) as container:
        assert container.streams.video[0].average_rate == 12
    assert Image.open(made / "contact.png").size[1] < 256


def test_only_what_is_asked_for_is_written(predict, folder):
    write_video(folder / "walk.mp4", clip(3), rate=6)
    code, out, _ = predict("walk.mp4", "--save", "csv,json", "--out", "here", "--json", "--threshold", 0.05)
    assert code == 0
    assert sorted(p.name for p in (folder / "here").iterdir()) == ["results.json", "tracks"]
    told = json.loads(out.splitlines()[-1])
    assert told["frames"] == 3
    assert told["tracks"] == len(json.loads((folder / "here" / "results.json").read_text()))
    before = sorted((folder / "here" / "tracks").iterdir())
    assert predict("walk.mp4", "--save", "csv", "--out", "here", "--threshold", 1)[0] == 0
    assert before
    assert not list((folder / "here" / "tracks").iterdir())  # those of the earlier time are gone
    error = refusal(predict("walk.mp4", "--save", "mp4,gif"), 2)
    assert "gif" in error["error"]


def test_tracks_are_saved_as_labels_with_their_identities(predict, folder):
    write_video(folder / "walk.mp4", clip(3), rate=6)
    save = ["cvat", "labelme", "coco"]
    also = ["davis", "kitti-mots"]
    code, out, err = predict(
        "walk.mp4", "--save", ",".join(["json", *save, *also]), "--out", "here", "--threshold", 0.3
    )
    assert code == 0, err
    results = json.loads((folder / "here" / "results.json").read_text())
    frames = [[t for t, m in enumerate(e["segmentations"]) if m and coco_mask.area(m)] for e in results]
    seen = {e["track"]: (e["category"], times) for e, times in zip(results, frames, strict=True) if times}
    assert seen
    for name in save:
        assert str(Path("here") / name) in out
        (found,) = FORMATS[name].read(folder / "here" / name).clips
        assert found.length == 3
        assert {t.id: (t.category, sorted(t.masks)) for t in found.tracks} == seen
    assert len(list((folder / "here" / "coco" / "images" / "walk").iterdir())) == 3
    for name, masks in zip(also, ("Annotations/480p", "instances"), strict=True):
        assert len(list((folder / "here" / name / masks / "walk").iterdir())) == 3
        assert f"walk: {name}: " in err  # what masks of one object per pixel can't hold
    code, _, err = predict("walk.mp4", "--save", "cvat", "--out", "here")
    assert code == 2  # a labeller may have corrected what is there
    assert "already exists" in blocks(err)[0]["error"]


def test_tracks_above_the_threshold_only(predict, folder):
    write_video(folder / "walk.mp4", clip(3), rate=6)
    code, out, _ = predict("walk.mp4", "--threshold", 0.999)
    assert code == 0
    assert "--threshold" in out
    assert json.loads((folder / "predictions/walk/results.json").read_text()) == []
    shutil.rmtree("predictions")
    refusal(predict("walk.mp4", "--threshold", 1.5), 2)


def test_settings_of_tracker_and_input_can_be_changed(predict, folder):
    write_video(folder / "walk.mp4", clip(), rate=12)
    counts = []
    for change in ((), ("--set", "tracker.init_threshold=0.9999"), ("--set", "input.test_short_side=32")):
        code, out, err = predict("walk.mp4", "--threshold", 0.05, "--save", "json", "--json", *change)
        assert code == 0, err
        counts.append((json.loads(out)["tracks"], Path("predictions/walk/results.json").read_bytes()))
    assert counts[0][0] > 0 == counts[1][0]
    assert counts[2][1] != counts[0][1]

    shutil.rmtree("predictions")
    for wrong in ("tracker.new_threshold=.2,.3", "solver.lr=1", "tracker.new_treshold=.3"):
        assert "--set" in refusal(predict("walk.mp4", "--set", wrong), 2)["where"]


def test_pictures_of_any_mode_in_their_order(predict, folder):
    (folder / "frames").mkdir()
    for t, frame in enumerate(clip(11)):
        image = Image.fromarray(frame)
        image = {0: image.convert("RGBA"), 1: image.convert("P"), 2: image.convert("L")}.get(t, image)
        image.save(folder / "frames" / f"f{t}.png")
    (folder / "frames" / "notes.txt").write_text("no frame")
    assert predict("frames", "--threshold", 0.05)[0] == 0
    by_folder = (folder / "predictions/frames/results.json").read_text()
    assert len(json.loads(by_folder)[0]["segmentations"]) == 11
    shutil.rmtree("predictions")
    assert predict("frames/f*.png", "--threshold", 0.05)[0] == 0
    assert (folder / "predictions/frames/results.json").read_text() == by_folder
    assert predict("frames/f10.png", "--save", "json")[0] == 0
    assert len(list(Path("predictions/f10").iterdir())) == 1


@pytest.mark.parametrize(("height", "width", "count"), [(49, 81, 3), (48, 80, 1), (33, 63, 2)])
def test_odd_sizes_and_one_frame(predict, folder, height, width, count):
    (folder / "frames").mkdir()
    for t, frame in enumerate(clip(count, height, width)):
        Image.fromarray(frame).save(folder / "frames" / f"{t}.png")
    code, _, err = predict("frames", "--threshold", 0.05)
    assert code == 0, err
    (entry, *_) = json.loads((folder / "predictions/frames/results.json").read_text())
    assert {tuple(s["size"]) for s in entry["segmentations"] if s} == {(height, width)}
    assert len(list(read_video(folder / "predictions/frames/overlay.mp4"))) == count


def encoded(frames):
    """A stream of H.264 without a container: such streams can be put one behind the other."""
    made = io.BytesIO()
    with av.open(made, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=6)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return made.getvalue()


def turned(data, matrix):
    """An mp4's bytes with another display matrix (a, b, c, d) in its track header."""
    start = data.index(b"tkhd") + 44
    a, b, c, d = (v << 16 for v in matrix)
    return data[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[start + 36 :]


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((1, 0, 0, 1), (0, 0)), ((0, 1, -1, 0), (0, -1)), ((-1, 0, 0, -1), (-1, -1)), ((0, -1, 1, 0), (-1, 0))],
)
def test_a_turned_video_stands_upright(predict, folder, matrix, corner):
    write_video(folder / "plain.mp4", clip(2), rate=6)
    (folder / "phone.mp4").write_bytes(turned((folder / "plain.mp4").read_bytes(), matrix))
    frame = next(read_video(folder / "phone.mp4"))
    y, x = ((5 if c == 0 else -6) for c in corner)
    assert frame[y, x, 0] > 150
    assert frame[y, x, 1] < 90
    if matrix == (0, 1, -1, 0):
        assert predict("phone.mp4", "--threshold", 0.05, "--save", "json,mp4")[0] == 0
        (entry, *_) = json.loads((folder / "predictions/phone/results.json").read_text())
        assert next(s for s in entry["segmentations"] if s)["size"] == [80, 48]
        assert next(read_video(folder / "predictions/phone/overlay.mp4")).shape[:2] == (80 * 4, 48 * 4)


def test_videos_of_a_data_set(predict, folder):
    make_mini(folder)
    root = folder / "root" / "ovis"
    root.mkdir(parents=True)
    (folder / "frames").rename(root / "valid")
    document = json.loads((folder / "videos.json").read_text())
    document["categories"] = [{"id": 2, "name": "sea lion"}, {"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    (root / "annotations_valid.json").write_text(json.dumps(document))
    code, _, err = predict("ovis", "--root", folder / "root", "--threshold", 0.05)
    assert code == 0, err
    made = folder / "predictions" / "ovis_val"
    assert sorted(p.name for p in made.iterdir()) == ["results.json", "video-1", "video-2"]
    assert (made / "video-2" / "overlay.mp4").is_file()
    results = json.loads((made / "results.json").read_text())
    assert {entry["video_id"] for entry in results} == {1, 2}
    assert {(e["category"], e["category_id"]) for e in results} <= {("cat", 7), ("dog", 9), ("sea lion", 2)}


def test_a_file_that_can_not_be_written_ends_the_whole_command(predict, folder):
    for name in ("a", "b", "c"):
        write_video(folder / f"{name}.mp4", clip(5), rate=6)
    made = folder / "out"
    (made / "a" / "overlay.mp4").mkdir(parents=True)  # where the first overlay should go
    code, _, err = predict("*.mp4", "--threshold", 0.05, "--out", "out")
    assert code == 1
    assert "overlay.mp4" in blocks(err)[0]["where"]
    assert not (made / "results.json").exists()
    assert not list(made.rglob(".*"))


def cut(path, share=0.7):
    """A video of noise that ends in the middle."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 80, 3), dtype=np.uint8)
    write_video(path, noise, rate=6)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_one_broken_file_among_many_costs_the_others_nothing(predict, folder):
    for name in ("a", "d"):
        write_video(folder / f"{name}.mp4", clip(4), rate=6)
    cut(folder / "b.mp4")
    (folder / "c.mp4").write_text("not a video at all")
    code, out, err = predict("*.mp4", "--threshold", 0.05, "--out", "out", "--json")
    assert code == 4
    assert [Path(error["where"]).name for error in blocks(err)] == ["c.mp4", "b.mp4"]
    made = folder / "out"
    assert sorted(p.name for p in made.iterdir()) == ["a", "d", "results.json"]
    assert {entry["video_id"] for entry in json.loads((made / "results.json").read_text())} == {1, 4}
    assert (made / "d" / "overlay.mp4").is_file()
    told = json.loads(out.splitlines()[-1])
    assert told["frames"] == 8
    assert [Path(f["where"]).name for f in told["failed"]] == ["c.mp4", "b.mp4"]


def test_all_broken_files_are_reported(predict, folder):
    cut(folder / "b.mp4")
    (folder / "c.mp4").write_text("not a video at all")
    code, _, err = predict("*.mp4", "--out", "out")
    assert code == 4
    assert len(blocks(err)) == 2
    assert not list((folder / "out").rglob("*.*"))


def test_files_of_one_name_never_share_a_folder(predict, folder):
    write_video(folder / "a.mp4", clip(2), rate=6)
    for name in ("a.m4v", "a-1.mp4", "a-2.mp4"):
        shutil.copy(folder / "a.mp4", folder / name)
    assert predict("a*.m*", "--save", "png", "--out", "out")[0] == 0
    assert len(list((folder / "out").glob("*/contact.png"))) == 4


def test_the_rate_of_a_folder(predict, folder):
    (folder / "frames").mkdir()
    for t, frame in enumerate(clip(3)):
        Image.fromarray(frame).save(folder / "frames" / f"{t}.png")
    code, _, err = predict("frames", "--rate", 0.5, "--save", "csv,mp4", "--threshold", 0.05, "--out", "out")
    assert code == 0, err
    rows = [row for table in (folder / "out/tracks").iterdir() for row in csv.DictReader(table.open())]
    assert {row["seconds"] for row in rows} <= {"0.000", "2.000", "4.000"}
    assert [f.seconds for f in read_timed_video(folder / "out/overlay.mp4")] == pytest.approx([0, 2, 4])
    shutil.rmtree(folder / "out")
    write_video(folder / "walk.mp4", clip(2), rate=6)
    assert "--rate" in refusal(predict("walk.mp4", "--rate", 6), 2)["where"]
    assert "--rate" in refusal(predict("frames", "--rate", 0), 2)["where"]


def test_tables_and_overlay_keep_the_times_of_the_video(predict, folder):
    shown = [0.0, 0.04, 0.08, 1.5, 4.0]
    with video_file(folder / "phone.mp4", rate=25) as file:
        for frame, seconds in zip(clip(5), shown, strict=True):
            file.add(frame, seconds)
    assert predict("phone.mp4", "--threshold", 0.05, "--out", "out")[0] == 0
    rows = [row for table in (folder / "out/tracks").iterdir() for row in csv.DictReader(table.open())]
    assert rows
    for row in rows:
        assert float(row["seconds"]) == pytest.approx(shown[int(row["frame"])], abs=1e-3)
    assert [f.seconds for f in read_timed_video(folder / "out/overlay.mp4")] == pytest.approx(shown, abs=1e-3)


def test_damaged_pictures_are_used_and_reported_with_their_numbers(predict, folder):
    (folder / "frames").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    for t in range(4):
        Image.fromarray(noise).save(folder / "frames" / f"{t}.jpg", quality=95)
    for t in (1, 3):
        content = (folder / "frames" / f"{t}.jpg").read_bytes()
        (folder / "frames" / f"{t}.jpg").write_bytes(content[:3000] + content[3200:])
    code, out, err = predict("frames", "--save", "json", "--json")
    assert code == 0, err
    assert "warning: frames: damaged" in err
    assert "frames 1, 3 (2 of 4, counted from 0)" in err
    assert json.loads(out.splitlines()[-1])["damaged"] == {"frames": [1, 3]}


def test_hidden_files_beside_frames_are_ignored(predict, folder):
    (folder / "frames").mkdir()
    for t, frame in enumerate(clip(3)):
        Image.fromarray(frame).save(folder / "frames" / f"{t}.png")
        (folder / "frames" / f"._{t}.png").write_bytes(b"\0\5\x16\7Mac OS X")
    (folder / "frames" / ".thumbnail.png").write_bytes(b"no picture")
    for source in ("frames", "frames/*.png"):
        code, out, err = predict(source, "--save", "json", "--out", "out", "--json")
        assert code == 0, err
        assert json.loads(out.splitlines()[-1])["frames"] == 3
        assert "left out" not in err
    for name in ("a.HEIC", "b.heic", "c.mov"):  # a telephone's folder
        (folder / "frames" / name).touch()
    _, _, err = predict("frames", "--save", "json", "--out", "out")
    assert "warning: frames: files that are no frames are left out: 2 .heic, 1 .mov" in err


def test_pages_of_one_file_are_frames(predict, folder):
    pages = [Image.fromarray(frame) for frame in clip(3)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(folder / "moving.png", save_all=True, append_images=pages[1:], duration=[100, 300, 500])
    for name, shown in (("stack.tif", [0, 1 / 6, 2 / 6]), ("moving.png", [0, 0.1, 0.4])):
        code, _, err = predict(name, "--save", "mp4", "--out", "out")
        assert code == 0, err
        assert [f.seconds for f in read_timed_video(folder / "out/overlay.mp4")] == pytest.approx(shown, abs=1e-3)
    shutil.rmtree(folder / "out")
    (folder / "frames").mkdir()
    (folder / "stack.tif").rename(folder / "frames" / "0.tif")
    pages[0].save(folder / "frames" / "1.tif")
    assert "holds 3 pictures" in refusal(predict("frames"), 4)["error"]


def test_a_file_with_a_colon_in_its_name_is_a_file(predict, folder):
    for name in ("12:30.mp4", "camera:0"):
        write_video(folder / "a.mp4", clip(2), rate=6)
        (folder / "a.mp4").rename(folder / name)
        code, _, err = predict(name, "--out", "13:30", "--save", "mp4")
        assert code == 0, err
        assert (folder / "13:30" / "overlay.mp4").is_file()


def sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))


def test_files_without_pictures_are_refused(predict, folder):
    sound(folder / "sound.wav")
    assert "no video stream" in refusal(predict("sound.wav"), 4)["error"]
    (folder / "notes.mp4").write_text("not a video at all")
    assert "cannot be read" in refusal(predict("notes.mp4"), 4)["error"]
    (folder / "empty.mp4").write_bytes(b"")
    assert refusal(predict("empty.mp4"), 4)["where"].endswith("empty.mp4")
    (folder / "bare").mkdir()
    assert "no image" in refusal(predict("bare"), 3)["error"]
    assert "matches no file" in refusal(predict("bare/*.png"), 3)["error"]
    assert "did you mean 'ovis'" in refusal(predict("ovvis"), 3)["fix"]
    (folder / "bare" / "a.mp4").touch()
    assert refusal(predict("bare"), 3)["fix"] == "for each of its videos: idolctl predict 'bare/*.mp4'"
    (folder / "outer" / "inner").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "outer" / "inner" / "0.png")
    assert refusal(predict("outer"), 3)["fix"] == "name one of its folders: idolctl predict outer/inner"
    (folder / "bad").mkdir()
    (folder / "bad" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    assert refusal(predict("bad"), 4)["where"].endswith("0.png")


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG"), (1, None)])
def test_hdr_video_is_told(folder, capsys, transfer, name):
    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=6)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p10le"
        stream.codec_context.color_trc = transfer
        for frame in clip(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    find_sources("a.mp4", root=None, recording=folder, stop=lambda: False)
    err = capsys.readouterr().err
    assert err.startswith(f"warning: a.mp4: HDR video ({name})") if name else err == ""


def test_a_truncated_video_leaves_nothing(predict, folder):
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 128, 3), dtype=np.uint8)
    write_video(folder / "whole.mp4", noise, rate=6)
    data = (folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    error = refusal(predict("cut.mp4"), 4)
    assert "cut short" in error["error"]
    assert error["where"].endswith("cut.mp4")


def test_a_video_without_frames(predict, folder):
    with av.open(str(folder / "none.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=6)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert "no frames" in refusal(predict("none.avi"), 4)["error"]


def test_a_change_of_resolution_within_a_video_is_named(predict, folder):
    (folder / "change.h264").write_bytes(b"".join(encoded(clip(5, height)) for height in (48, 64)))
    error = refusal(predict("change.h264"), 2)
    assert "frame 5 is 80x64, the frames before it 80x48" in error["error"]


def test_a_change_of_resolution_is_named(predict, folder):
    (folder / "frames").mkdir()
    for t, height in enumerate((48, 48, 50)):
        Image.fromarray(clip(1, height)[0]).save(folder / "frames" / f"{t}.png")
    error = refusal(predict("frames"), 2)
    assert "frame 2 (2.png) is 80x50, the frames before it 80x48" in error["error"]
    assert "a folder of their own" in error["fix"]
    assert error["where"].endswith("frames")


def test_missing_cameras_are_reported(predict, folder):
    error = refusal(predict("camera:97"), 3)
    assert error["error"].startswith("there is no camera 97")
    assert error["where"] == "/dev/video97"
    assert "camera:0" in refusal(predict("camera:front"), 2)["fix"]


def test_missing_weights_are_reported(folder, capsys):
    write_video(folder / "walk.mp4", clip(2), rate=6)

    def run(name):
        code = main(["predict", "walk.mp4", "--weights", name])
        return code, *capsys.readouterr()

    assert refusal(run("ovis-r50"), 3)["fix"] == "idolctl fetch ovis-r50"
    assert "ovis-r50" in refusal(run("ovis-r5"), 2)["fix"]
    assert "backbone" in refusal(run("r50-imagenet"), 2)["error"]
    assert refusal(run("none.safetensors"), 3)["where"].endswith("none.safetensors")
    torch.save({"model": {"x": torch.zeros(2)}}, folder / "bare.pth")
    assert refusal(run("bare.pth"), 2)["fix"] == "idolctl convert bare.pth --to idolctl --out bare.safetensors"
    save_file({"x": torch.zeros(2)}, folder / "bare.safetensors")
    assert refusal(run("bare.safetensors"), 2)["fix"].endswith("--out bare-idolctl.safetensors")


def test_the_precision_is_that_of_the_network(predict, folder):
    write_video(folder / "walk.mp4", clip(), rate=12)
    scores = {}
    for precision in ("float32", "tf32", "bf16"):
        code, _, err = predict("walk.mp4", "--threshold", 0.05, "--save", "json", "--precision", precision)
        assert code == 0, err
        found = json.loads((folder / "predictions" / "walk" / "results.json").read_text())
        scores[precision] = [entry["score"] for entry in found]
    assert scores["tf32"] == scores["float32"]  # a CPU has no TF32
    assert scores["bf16"] != scores["float32"]
    assert scores["bf16"][0] == pytest.approx(scores["float32"][0], abs=0.05)


def test_a_missing_device_is_reported(predict, folder):
    write_video(folder / "walk.mp4", clip(2), rate=6)
    assert refusal(predict("walk.mp4", "--device", "toaster"), 2)["fix"] == "cpu, cuda, cuda:N or mps"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_leaves_no_half_written_file(folder, weights, number, code):
    write_video(folder / "long.mp4", clip(400), rate=6)  # so long that the signals come while the overlay is drawn
    (folder / "scratch").mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "scratch")}
    command = ["predict", "long.mp4", "--weights", weights, "--threshold", "0.05", "--device", "cpu"]
    running = Started(command, folder, environment)
    made = folder / "predictions" / "long"
    while not list(made.glob(".overlay*")):  # the video is being written
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.send_signal(number)
    while number == signal.SIGTERM and running.poll() is None:  # again and again until it has ended
        running.send_signal(number)
        time.sleep(0.01)
    assert running.wait(timeout=600) == code
    assert not list((folder / "scratch").glob("idolctl-*"))
    assert not (made / "overlay.mp4").exists()
    assert not (made / "results.json").exists()
    assert not list(made.glob(".*"))


def test_published_weights_serve_by_name_once_fetched(folder, capsys):
    from idol_core import VideoSegmenter
    from idol_core.weights import ours_to_published

    torch.manual_seed(0)
    model = tiny_config(num_classes=25)
    (folder / "mirror").mkdir()
    published = ours_to_published(build_model(model).state_dict(), model)
    torch.save({"model": published}, folder / "mirror" / "ovis-r50.pth")
    assert main(["fetch", "ovis-r50", "--mirror", str(folder / "mirror"), "--offline"]) == 0, capsys.readouterr().err
    segmenter = VideoSegmenter.from_pretrained("ovis-r50")
    assert segmenter.classes[:3] == ("Person", "Bird", "Cat")
    assert segmenter.tracker.new_threshold == 0.3
    assert segmenter.input.test_short_side == 720
    (tracked,) = segmenter.stream(clip(1))
    assert tracked.size == (48, 80)
