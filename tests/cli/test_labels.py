"""`idolctl data import` and `data export`: labels of other tools become a set of one's own, and go back."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from idol_core.config import DataSource
from idol_core.data.annotations import rle
from idol_core.data.annotations.rle import encode, to_json
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import open_dataset
from idol_core.data.exchange.formats import FORMATS
from idol_core.data.frames import read_frame
from idol_core.video.writer import video_file
from tests.cli.conftest import blocks
from tests.unit.label_sets import compared, made_labels, write_images
from tests.unit.test_exchange import CVAT


def opened(tmp_path, name):
    return open_dataset(resolve_source(DataSource(name), tmp_path / "root"))


def test_frames_are_taken_from_the_video_by_number(call, tmp_path):
    """Frame n has brightness 8 n, at times that do not rise evenly; the labels are of frames 10, 12, ... 24."""
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "annotations.xml").write_text(CVAT)
    with video_file(tmp_path / "drive.mp4", rate=10) as file:
        for n in range(26):
            file.add(np.full((64, 96, 3), 8 * n, np.uint8), n * 0.1 + (n % 3) * 0.04)
    code, out, err = call("data", "import", "export", "--name", "mine", "--frames", "drive.mp4")
    assert code == 0, err
    assert "cvat: 1 clips, 8 frames, 3 tracks, 6 masks" in out
    assert "car 1, person 2" in out
    assert "! 1 shapes of the kind 'box'" in out
    dataset = opened(tmp_path, "mine_train")
    (video,) = dataset.videos
    means = [read_frame(name).mean() for name in video.file_names]
    assert np.abs(np.array(means) - 8 * np.arange(10, 26, 2)).max() < 3
    assert [i for i, mask in enumerate(dataset.tracks(0)[0].segmentations) if mask] == [1, 2, 3, 4]
    assert call("data", "check", "mine", "--deep")[0] == 0
    again = ("data", "import", "export", "--name", "mine", "--frames", "drive.mp4")
    code, _, err = call(*again)
    assert code == 2
    assert "--force" in blocks(err)[0]["fix"]
    assert call(*again, "--force")[0] == 0
    (tmp_path / "root" / "mine" / "import.json").unlink()  # now it may be a folder of the user's
    code, _, err = call(*again, "--force")
    assert code == 2
    assert (tmp_path / "root" / "mine" / "instances.json").is_file()


@pytest.mark.parametrize("form", [name for name, form in FORMATS.items() if form.images is not None])
def test_a_set_goes_out_and_comes_back(form, call, tmp_path):
    labels = made_labels(clips=2, frames=3)
    FORMATS["labelme"].write(labels, tmp_path / "first")
    write_images(labels, tmp_path / "first")
    assert call("data", "import", "first", "--name", "one")[0] == 0
    code, _, err = call("data", "export", "one", "--format", form, "--out", "out")
    assert code == 0, err
    shutil.make_archive("out", "zip", "out")
    code, out, err = call("data", "import", "out.zip", "--name", "two", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["format"], told["frames"]) == (form, 6)
    one, two = opened(tmp_path, "one_train"), opened(tmp_path, "two_train")
    assert two.frames == tmp_path / "root" / "two" / "frames"
    assert sorted(two.category_names) == sorted(FORMATS[form].fit(labels).categories)
    assert (two.kind == "vis") == told["tracked"]
    for video in two.videos:
        for name in video.file_names:
            assert read_frame(name).shape == (48, 64, 3)
    if told["tracked"]:
        one, two = (FORMATS["ytvis"].read(tmp_path / "root" / name) for name in ("one", "two"))
        assert compared(FORMATS[form].fit(one), two) >= 0.98
    code, _, err = call("data", "export", "one", "--format", form, "--out", "out")
    assert code == 2  # the labels there may have been corrected
    assert "already exists" in blocks(err)[0]["error"]


def test_frames_that_are_not_there_are_named(call, tmp_path):
    labels = made_labels(clips=1)
    FORMATS["coco"].write(labels, tmp_path / "labels")
    code, _, err = call("data", "import", "labels", "--name", "mine")
    assert code == 3
    assert "4 of 4 frames of clip 'clip0' are not there" in blocks(err)[0]["error"]
    assert not any((tmp_path / "root").iterdir())
    write_images(labels, tmp_path / "frames")
    code, _, err = call("data", "import", "labels", "--name", "mine", "--frames", "frames")
    assert code == 0, err
    (video,) = opened(tmp_path, "mine_train").videos
    assert video.file_names[0] == str(tmp_path / "frames" / "clip0" / "00000.jpg")
    shutil.copytree(tmp_path / "frames" / "clip0", tmp_path / "flat")
    assert call("data", "import", "labels", "--name", "three", "--frames", "flat")[0] == 0
    FORMATS["coco"].write(made_labels(clips=2), tmp_path / "two")  # of which the folder holds one clip's frames only
    code, _, err = call("data", "import", "two", "--name", "four", "--frames", "flat")
    assert code == 3
    Image.new("RGB", (48, 64)).save(tmp_path / "frames" / "clip0" / "00002.jpg")
    code, _, err = call("data", "import", "labels", "--name", "turned", "--frames", "frames")
    assert code == 4
    assert "a frame of 64 x 48, the labels say 48 x 64" in blocks(err)[0]["error"]
    assert not (tmp_path / "root" / "turned").exists()


def test_a_models_tracks_become_labels_of_one_class_each(call, tmp_path):
    labels = made_labels(clips=1, frames=3)
    FORMATS["ytvis"].write(labels, tmp_path / "set")
    write_images(labels, tmp_path / "frames")
    add = ("data", "add", "mine", "--frames", "frames", "--annotations", "set/instances.json")
    assert call(*add)[0] == 0
    truth = json.loads((tmp_path / "set" / "instances.json").read_text())["annotations"]
    empty = {"size": [48, 64], "counts": rle.encode(np.zeros((48, 64), bool))["counts"].decode()}
    ghost = [None, empty, None]
    results = [
        {"video_id": 1, "category_id": category, "score": score, "track": track, "segmentations": masks}
        for category, score, track, masks in (
            (2, 0.4, 5, truth[0]["segmentations"]), (1, 0.8, 5, truth[0]["segmentations"]),
            (2, 0.5, 0, truth[1]["segmentations"]), (1, 0.2, 9, truth[2]["segmentations"]), (1, 0.9, 7, ghost),
        )
    ]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    code, _, err = call("data", "export", "results.json", "--data", "mine", "--format", "coco", "--out", "draft")
    assert code == 0, err
    (clip,) = FORMATS["coco"].read(tmp_path / "draft").clips
    assert {track.id: track.category for track in clip.tracks} == {5: "car", 0: "person"}
    assert (tmp_path / "draft" / "images" / "clip0" / "00002.jpg").is_file()
    code, _, err = call("data", "export", "results.json", "--format", "labelme", "--out", "other")
    assert code == 2
    assert "--data SET" in blocks(err)[0]["fix"]
    results[2]["segmentations"] = [None]
    (tmp_path / "results.json").write_text(json.dumps(results))
    code, _, err = call("data", "export", "results.json", "--data", "mine", "--format", "cvat", "--out", "other")
    assert code == 4
    assert "entry 2" in blocks(err)[0]["where"]
    assert not (tmp_path / "other").exists()


def test_mask_images_are_never_taken_for_frames(call, tmp_path):
    """Frames of mask images are known by their stems; these are PNGs too, of another folder."""
    labels = FORMATS["davis"].fit(made_labels(clips=2, frames=2))
    FORMATS["davis"].write(labels, tmp_path / "set")
    masks = tmp_path / "set" / "Annotations" / "480p"
    for frames in ([], ["--frames", masks]):
        code, _, err = call("data", "import", "set", "--name", "mine", *frames)
        assert code == 3
        assert "2 of 2 frames of clip 'clip0' are not there" in blocks(err)[0]["error"]
    for path in masks.rglob("*.png"):
        (tmp_path / "png" / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "png" / path.parent.name / path.name)
    code, out, err = call("data", "import", "set", "--name", "mine", "--frames", "png")
    assert code == 0, err
    assert "! classes: the masks have none" in out
    assert "object 6" in out
    names = [name for video in opened(tmp_path, "mine_train").videos for name in video.file_names]
    assert names == [str(tmp_path / "png" / f"clip{k}" / f"{t:05d}.png") for k in (0, 1) for t in (0, 1)]


def test_results_become_masks_without_their_frames_and_what_is_lost_is_told(call, tmp_path):
    whole, part = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    part[:2] = True
    entries = [
        {"video_id": 1, "track": k, "score": score, "category_id": 1, "category": "fox",
         "segmentations": [to_json(encode(mask)), None]}
        for k, (mask, score) in enumerate(((whole, 0.8), (part, 0.9)))
    ]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(entries))
    code, out, err = call("data", "export", "results.json", "--format", "davis", "--out", "masks")
    assert code == 0, err
    assert "! the pixels of 1 masks" in out
    assert "! ids of 1 clips" in out
    with Image.open(tmp_path / "masks" / "Annotations" / "480p" / "video-1" / "00000.png") as picture:
        assert np.asarray(picture).tolist() == [[1] * 6] * 2 + [[2] * 6] * 2
    code, _, err = call("data", "export", "results.json", "--format", "burst", "--out", "other")
    assert code == 2
    assert "are read, not written" in blocks(err)[0]["error"]


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((*range(25),), None),
        ((*range(1, 26),), None),  # as ffmpeg counts
        ((*range(10, 26, 2),), None),
        ((*range(1, 9),), None),
        ((*range(5, 30),), "not all frames of a video"),
        ((*range(3), *range(4, 27)), "not all frames of a video"),
        ((1, 2, 3, 5, 6, 7, 8, 9), "frames are missing"),
    ],
)
def test_frames_that_are_missing_from_a_folder_do_not_shift_the_others(numbers, told, call, tmp_path):
    """The labels are of frames 10, 12, ... 24 of a video; the folder has all of it, these, or neither."""
    (tmp_path / "annotations.xml").write_text(CVAT)
    (tmp_path / "cut").mkdir()
    for n in numbers:
        Image.new("RGB", (96, 64)).save(tmp_path / "cut" / f"{n:05d}.jpg")
    code, out, err = call("data", "import", "annotations.xml", "--name", "mine", "--frames", "cut")
    assert code == (3 if told else 0), out + err
    assert not told or told in blocks(err)[0]["error"]


@pytest.mark.parametrize("group", [1, None])
def test_labels_of_one_image_twice_are_refused(group, call, tmp_path):
    shape = {"label": "car", "points": [[1, 1], [9, 1], [9, 9]], "group_id": group, "shape_type": "polygon"}
    content = {"shapes": [shape], "imagePath": "0.png", "imageHeight": 30, "imageWidth": 40}
    for number in range(2):  # a label file that was copied: its imagePath is still that of the first
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
        Image.new("RGB", (40, 30)).save(tmp_path / f"{number}.png")
    code, _, err = call("data", "import", ".", "--name", "mine")
    assert code == 4
    assert "this image twice" in blocks(err)[0]["error"]
    assert not (tmp_path / "root" / "mine").exists()


def test_labels_that_go_on_after_the_video_are_refused(call, tmp_path):
    (tmp_path / "annotations.xml").write_text(CVAT)
    with video_file(tmp_path / "drive.mp4", rate=10) as file:
        for _ in range(12):
            file.add(np.zeros((64, 96, 3), np.uint8))
    code, _, err = call("data", "import", "annotations.xml", "--name", "mine")
    assert code == 3
    assert "go up to frame 24, the video has 12" in blocks(err)[0]["error"]
    assert not any((tmp_path / "root").iterdir())


def _archive(path, *entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)


def _link():
    entry = zipfile.ZipInfo("labels/annotations.xml")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([], "holds no files"),
        ([("a" * 300 + "/annotations.xml", CVAT)], "is too long"),
        ([("../annotations.xml", CVAT)], "leads out"),
        ([("/etc/annotations.xml", CVAT)], "leads out"),
        ([("C:\\annotations.xml", CVAT)], "leads out"),
        ([(_link(), "/etc/passwd")], "is a link"),
        ([("a.xml", CVAT), ("./a.xml", CVAT)], "in it twice"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(call, tmp_path, entries, told):
    _archive(tmp_path / "labels.zip", *entries)
    code, _, err = call("data", "import", "labels.zip", "--name", "mine")
    assert code == 4
    (error,) = blocks(err)
    assert told in error["error"]
    assert error["where"] == "labels.zip"
    assert not any((tmp_path / "root").iterdir())


def test_an_archive_that_swells_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.setattr("idol_core.data.exchange.archives._FREE_BYTES", 1000)
    _archive(tmp_path / "labels.zip", ("a.xml", CVAT + " " * 3_000_000))
    code, _, err = call("data", "import", "labels.zip", "--name", "mine")
    assert code == 4
    assert "over 200 times its size" in blocks(err)[0]["error"]


def test_what_is_no_label_format_is_told(call, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    code, _, err = call("data", "import", "a.png", "--name", "mine")
    assert code == 2
    assert "--format" in blocks(err)[0]["fix"]
    code, _, err = call("data", "import", "a.png", "--name", "mine", "--format", "cvta")
    assert "did you mean 'cvat'" in blocks(err)[0]["fix"]


def test_errors_in_a_zip_name_the_zip(call, tmp_path):
    _archive(tmp_path / "labels.zip", ("annotations.xml", CVAT[:900]))
    code, _, err = call("data", "import", "labels.zip", "--name", "mine")
    assert code == 4
    assert blocks(err)[0]["where"].startswith("labels.zip/annotations.xml:")


def test_a_set_stays_when_the_one_to_replace_it_cannot_be_registered(call, tmp_path):
    labels = made_labels(clips=1, frames=3)
    FORMATS["labelme"].write(labels, tmp_path / "first")
    write_images(labels, tmp_path / "first")
    assert call("data", "import", "first", "--name", "mine")[0] == 0
    root = tmp_path / "root"
    before = (root / "mine" / "instances.json").read_bytes()
    (root / "mine.yaml").unlink()
    (root / "mine.yaml").mkdir()  # no file can take its place
    labelled = tmp_path / "first" / "clip0" / "00000.json"
    labelled.write_text(labelled.read_text().replace('"car"', '"bus"'))
    code, _, err = call("data", "import", "first", "--name", "mine", "--force")
    assert code != 0, err
    assert (root / "mine" / "instances.json").read_bytes() == before
    assert sorted(path.name for path in root.iterdir()) == ["mine", "mine.yaml"]


def test_an_import_that_is_stopped_leaves_nothing(tmp_path):
    """Interpolating 200,000 frames takes far longer than the signal."""
    text = CVAT.replace('frame="20"', 'frame="400010"').replace("<size>8</size>", "<size>200001</size>")
    (tmp_path / "annotations.xml").write_text(text)
    root = tmp_path / "root"
    command = [
        sys.executable,
        "-m",
        "idolctl",
        "data",
        "import",
        "annotations.xml",
        "--name",
        "mine",
        "--root",
        str(root),
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not any(root.glob(".mine-*")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 75, err
    assert not any(root.iterdir())
