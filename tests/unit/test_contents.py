"""What a labelled set holds for training, and what looks like a mistake in it."""

from __future__ import annotations

import numpy as np
import pytest

from idol_core.data.annotations import rle
from idol_core.data.contents import contents_of, training_remarks
from idol_core.data.sampler import units
from idol_core.errors import Integrity
from tests.unit.data_sets import CATEGORIES, disc, write_set

SQUARE = [4, 6, 24, 6, 24, 16, 4, 16]


def images(folder, changes, n=4):
    """n images of 40 x 60 with a rectangle each, of both classes in turn, changed as `changes` says."""
    entries = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in range(n)]
    objects = [
        {
            "id": 10 + i, "image_id": i, "category_id": (4, 9)[i % 2], "segmentation": [SQUARE], "bbox": [4, 6, 20, 10],
            "area": 200,
        } | (changes(i) or {})
        for i in range(n)
    ]  # fmt: skip
    return write_set(folder, "coco", images=entries, annotations=objects, categories=CATEGORIES)


def told(dataset):
    found = contents_of(dataset)
    return found.usable, [str(remark) for remark in found.remarks]


def test_a_good_set_needs_no_remark(tmp_path):
    assert told(images(tmp_path, lambda i: None)) == (4, [])


def in_row_order():
    mask = np.zeros((40, 60), bool)
    mask[6:16, 4:24] = True
    return rle.uncompressed(mask.ravel().reshape(60, 40).T)


@pytest.mark.parametrize(
    ("change", "usable", "said"),
    [
        ({"iscrowd": 1}, 3, "1 objects are crowds: training leaves them out (first: annotation 12)"),
        ({"segmentation": []}, 3, "1 objects are boxes without masks: training leaves them out (first: annotation 12)"),
        ({"segmentation": [], "bbox": None}, 3, "1 objects have no mask"),
        ({"segmentation": [[-9, -9, -1, -9, -1, -1]]}, 3, "1 masks are empty (first: annotation 12, 2.png)"),
        ({"segmentation": [[-9, -9, -1, -9, -1, -1]]}, 3, "1 masks have polygons outside of their frame"),
        ({"segmentation": {"size": [40, 60], "counts": [100, 1, 2299]}}, 4, "1 masks have only one pixel"),
        ({"segmentation": [[v / 60 for v in SQUARE]]}, 3, "1 masks look normalised"),
        ({"segmentation": [SQUARE, [1, 1, 2, 2]]}, 4, "1 masks lost polygons of fewer than three corners"),
        ({"segmentation": in_row_order()}, 4, "1 masks lie far from their `bbox` in the file"),
        ({"bbox": [24, 26, 44, 36]}, 4, "1 masks lie far from their `bbox` in the file"),
        ({"area": 20_000}, 4, "1 masks differ much in size from their `area`"),
    ],
)
def test_each_fault_of_an_annotation_has_its_remark(tmp_path, change, usable, said):
    found, remarks = told(images(tmp_path, lambda i: change if i == 2 else None))
    assert found == usable
    assert any(remark.startswith(said) for remark in remarks), remarks


def test_classes_without_objects_are_named(tmp_path):
    _, remarks = told(images(tmp_path, lambda i: {"iscrowd": int(i % 2)}))
    assert "1 classes have no objects to learn from (second)" in remarks


def test_what_a_set_has_twice_is_told(tmp_path):
    """The first and third image have the same rectangle of class 4; made objects of one image, it is there twice."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    twice = images(tmp_path / "a", lambda i: {"image_id": i % 2})
    assert [r for r in told(twice)[1] if "labelled twice" in r] == [
        "2 objects repeat the class and masks of another one: labelled twice? (first: annotation 12)"
    ]
    classes = [{"id": 4, "name": "traffic light"}, {"id": 9, "name": "Traffic_Light "}]
    video = {"id": 7, "file_names": ["a.png", "b.png"], "height": 40, "width": 60}
    track = {"video_id": 7, "category_id": 4, "segmentations": [rle.uncompressed(disc(40, 60, 20, 20, 8)), None]}
    videos = [video, video | {"id": 8, "file_names": ["c.png", "b.png"]}]
    tracks = [track | {"id": 1}, track | {"id": 2, "segmentations": track["segmentations"][::-1]}, track | {"id": 3}]
    remarks = told(write_set(tmp_path / "b", "vis", videos=videos, annotations=tracks, categories=classes))[1]
    assert remarks[-3:] == [
        "1 objects repeat the class and masks of another one: labelled twice? (first: annotation 3)",
        "2 classes have nearly the same name, but are learnt apart ('traffic light' and 'Traffic_Light ')",
        "1 frames are listed twice: in two videos (or images), or in one (first: b.png in 8)",
    ]


def test_training_warns_only_of_faults_of_many_objects(tmp_path):
    assert training_remarks(images(tmp_path, lambda i: None)) == []
    (warned, *_) = training_remarks(images(tmp_path, lambda i: {"segmentation": [[v / 60 for v in SQUARE]]}))
    assert "one pixel" in warned or "empty" in warned
    few = images(tmp_path, lambda i: {"iscrowd": 1} if i == 0 else None, n=40)
    assert training_remarks(few) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iscrowd": 1}, "of 4 objects, 4 objects are crowds"),
        ({"segmentation": []}, "4 objects are boxes without masks"),
        ({"segmentation": [[-9, -9, -1, -9, -1, -1]]}, "4 masks are empty"),
    ],
)
def test_a_set_with_nothing_to_train_on_is_refused_with_the_reason(tmp_path, change, why):
    with pytest.raises(Integrity, match=why):
        units(images(tmp_path, lambda i: change), 1, skip_empty=True)


def test_tracks_of_videos_are_checked_frame_by_frame(tmp_path):
    masks = [rle.uncompressed(disc(40, 60, 20, 20, 8)), None, rle.uncompressed(np.zeros((40, 60), bool))]
    video = {"id": 1, "file_names": ["a.png", "b.png", "c.png"], "height": 40, "width": 60}
    track = {"id": 5, "video_id": 1, "category_id": 4, "segmentations": masks}
    boxes = {"bboxes": [[12, 12, 16, 16], [1, 1, 5, 5], None]}
    dataset = write_set(tmp_path, "vis", videos=[video], annotations=[track | boxes], categories=CATEGORIES)
    _, remarks = told(dataset)
    assert "1 masks are empty (first: annotation 5, c.png)" in remarks
    assert "1 frames of objects have a box, but no mask (first: annotation 5, b.png)" in remarks
    assert dataset.index.annotated_frames().tolist() == [True, False, False]
