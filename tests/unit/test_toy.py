"""The embedded data set: formats, determinism, and that its val clips are as hard as they should be."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter

import numpy as np
import pytest
from numpy.random import default_rng
from pycocotools.coco import COCO

from idol_core.config import DataSource
from idol_core.data.annotations import rle
from idol_core.data.annotations.segmentation import read_segmentation
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import open_dataset
from idol_core.data.frames import read_frame
from idol_core.data.toy import make as toy
from tests.conftest import TOY_IMAGES, TOY_VIDEOS

FORK = multiprocessing.get_context("fork")
SMALLEST = {"videos": {"train": 1, "val": 1}, "images": {"train": 1, "val": 1}}


@pytest.fixture(scope="module")
def val(toy_root):
    return json.loads((toy_root / "toy/vis/val/instances.json").read_text())


def test_a_seed_gives_the_same_clip_and_another_seed_another():
    first, again, other = (toy.make_clip(default_rng(seed), 4, crossing=True) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first.frames, again.frames, strict=True))
    assert np.array_equal(first.visible, again.visible)
    assert not np.array_equal(first.frames[0], other.frames[0])


def test_masks_are_the_visible_parts():
    for seed in range(5):
        clip = toy.make_clip(default_rng(seed), 6, crossing=True)
        assert clip.visible.sum(0).max() <= 1, "two objects claim a pixel"
        assert (clip.visible.sum((2, 3)) <= clip.whole_area * 1.1 + 4).all()


def test_every_val_clip_has_lookalikes_of_which_one_is_hidden(val):
    for video in val["videos"]:
        tracks = [a for a in val["annotations"] if a["video_id"] == video["id"]]
        most = Counter(a["category_id"] for a in tracks)
        rivals = [a for a in tracks if most[a["category_id"]] > 1]
        assert len(rivals) > 1
        assert any(None in a["segmentations"] or "severe_occlusion" in a["occlusion"] for a in rivals)


def test_annotations_follow_the_ytvis_format(val, toy_root):
    assert {c["id"] for c in val["categories"]} == {a["category_id"] for a in val["annotations"]}
    videos = {v["id"]: v for v in val["videos"]}
    for annotation in val["annotations"]:
        video = videos[annotation["video_id"]]
        fields = [annotation[key] for key in ("segmentations", "bboxes", "areas", "occlusion")]
        assert {len(field) for field in fields} == {video["length"]} == {len(video["file_names"])}
        for segmentation, box, area, grade in zip(*fields, strict=True):
            assert (segmentation is None) == (box is None) == (area is None) == (grade is None)
            if segmentation is None:
                continue
            assert area >= toy.FEWEST_PIXELS
            (mask,) = rle.decode([read_segmentation(segmentation, toy.HEIGHT, toy.WIDTH).rle], toy.HEIGHT, toy.WIDTH)
            assert mask.sum() == area
            ys, xs = mask.nonzero()
            assert [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1] == box


def test_some_objects_vanish_and_return(val):
    def returns(annotation):
        seen = "".join("-" if s is None else "x" for s in annotation["segmentations"])
        return "-" in seen.strip("-")

    assert sum(returns(a) for a in val["annotations"]) >= 5


@pytest.mark.parametrize(
    ("name", "count"),
    [("toy_train", TOY_VIDEOS), ("toy_val", 40), ("toy_images_train", TOY_IMAGES), ("toy_images_val", 60)],
)
def test_the_readers_of_real_sets_read_it(toy_root, name, count):
    dataset = open_dataset(resolve_source(DataSource(name), toy_root))
    assert len(dataset.videos) == count
    assert dataset.category_ids == sorted(toy.CATEGORIES.values())
    assert dataset.category_names == list(toy.CATEGORIES)
    assert dataset.index.annotated_frames().mean() > 0.99
    video = dataset.videos[count - 1]
    assert read_frame(video.file_names[-1]).shape == (video.height, video.width, 3)


def test_pycocotools_reads_the_images(toy_root):
    coco = COCO(toy_root / "toy/coco/annotations/instances_val.json")
    for annotation in coco.loadAnns(coco.getAnnIds()):
        assert coco.annToMask(annotation).sum() == annotation["area"]


def test_objects_differ_from_what_is_around_them(toy_root):
    """Textures must be visible: colors inside masks differ from the background's on average."""
    dataset = open_dataset(resolve_source(DataSource("toy_images_val"), toy_root))
    contrasts = []
    for row, video in enumerate(dataset.videos):
        frame = read_frame(video.file_names[0]).astype(float)
        masks = rle.decode([t.segmentations[0] for t in dataset.tracks(row)], video.height, video.width)
        ground = frame[~masks.any(0)].mean(0)
        contrasts += [np.abs(frame[mask > 0].mean(0) - ground).max() for mask in masks]
    assert np.median(contrasts) > 30


def test_files_left_by_a_killed_process_are_removed_by_the_next(tmp_path, monkeypatch):
    making = FORK.Process(target=toy.make_toy, args=(tmp_path,), kwargs=SMALLEST)
    monkeypatch.setattr(toy, "_put_in_place", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # in the child alone
    making.start()
    making.join()
    assert making.exitcode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".part")
    monkeypatch.undo()
    (tmp_path / ".toy.0a1b2c3d.part.old").mkdir()
    toy.make_toy(tmp_path, **SMALLEST)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_of_two_processes_one_makes_the_set_and_the_other_waits(tmp_path):
    both = [
        multiprocessing.get_context("fork").Process(target=toy.make_toy, args=(tmp_path,), kwargs=SMALLEST)
        for _ in range(2)
    ]
    for making in both:
        making.start()
    for making in both:
        making.join()
    assert [making.exitcode for making in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_making_it_again_keeps_what_is_there(toy_root):
    before = (toy_root / "toy/toy.json").stat()
    assert toy.make_toy(toy_root) == toy_root / "toy"
    after = (toy_root / "toy/toy.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not list(toy_root.glob(".toy*"))
