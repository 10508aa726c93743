"""COCO and YTVIS files as users have them: every form of segmentation, nulls, odd ids, and broken files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from idol_core.config import DataSource
from idol_core.data.annotations import rle
from idol_core.data.annotations.coco import read_coco
from idol_core.data.annotations.ytvis import read_vis
from idol_core.data.catalog import LAYOUTS, resolve_source
from idol_core.data.dataset import open_dataset
from idol_core.errors import Integrity, InvalidInput, Missing
from tests.unit.data_sets import CATEGORIES, disc, small_images, small_videos, write_set

MASK = disc(20, 30, 12, 9, 6)
VIDEO = {"id": 7, "file_names": ["a/0.jpg", "a/1.jpg"], "height": 20, "width": 30, "length": 2}
TRACK = {"id": 1, "video_id": 7, "category_id": 9, "iscrowd": 0, "segmentations": [rle.uncompressed(MASK), None]}


def write(tmp_path, **document):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def test_all_forms_of_a_segmentation_give_the_same_mask():
    compressed = coco_mask.encode(np.asfortranarray(MASK.astype(np.uint8)))
    for form in (
        rle.uncompressed(MASK),
        compressed,
        {"counts": compressed["counts"].decode(), "size": [20, 30]},
        {"counts": rle.uncompressed(MASK)["counts"]},
    ):
        (decoded,) = rle.decode([rle.from_annotation(form, 20, 30)], 20, 30)
        assert np.array_equal(decoded, MASK)


def test_runs_begin_with_zeros_also_where_the_first_pixel_is_set():
    full = np.ones((3, 4), bool)
    assert rle.uncompressed(full) == {"counts": [0, 12], "size": [3, 4]}
    assert rle.decode([rle.from_annotation(rle.uncompressed(full), 3, 4)], 3, 4).all()


def test_polygons_are_joined_and_slivers_dropped():
    square, other = [2, 2, 10, 2, 10, 10, 2, 10], [15, 5, 25, 5, 25, 9, 15, 9]
    (mask,) = rle.decode([rle.from_annotation([square, [1, 1, 2, 2], other], 20, 30)], 20, 30)
    assert mask[2:10, 2:10].all()
    assert mask[5:9, 15:25].all()
    assert mask.sum() == 8 * 8 + 10 * 4
    assert rle.from_annotation([[1, 1, 2, 2]], 20, 30) is None
    assert rle.from_annotation([], 20, 30) is None


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"counts": [100, 499], "size": [20, 30]}, "add up to 599"),
        ({"counts": [-5, 605], "size": [20, 30]}, "add up to"),
        ({"counts": "abc", "size": [30, 20]}, r"size \[30, 20\]"),
        ("abc", "neither RLE nor polygons"),
        ({"counts": None, "size": [20, 30]}, "counts of an RLE are NoneType"),
        ({"size": [20, 30]}, "neither RLE nor polygons"),
    ],
)
def test_impossible_segmentations_are_named(tmp_path, segmentation, message):
    path = write(
        tmp_path, videos=[VIDEO], categories=CATEGORIES, annotations=[{**TRACK, "segmentations": [segmentation, None]}]
    )
    with pytest.raises(Integrity, match=message) as caught:
        read_vis(path)
    assert caught.value.where == f"{path}:annotations, id 1"


def test_videos_tracks_and_frames(tmp_path):
    dataset = small_videos(tmp_path)
    assert dataset.category_ids == [4, 9]
    assert dataset.category_names == ["first", "second"]
    assert [v.length for v in dataset.videos] == [6, 4, 1]
    assert dataset.videos[-1].file_names == [str(tmp_path / "frames/v3/0.jpg")]
    assert [v.id for v in dataset.videos[1:]] == [2, 3]
    tracks = dataset.tracks(0)
    assert [(t.id, t.category, t.iscrowd) for t in tracks] == [(10, 0, False), (11, 1, False), (12, 0, True)]
    assert [s is None for s in tracks[1].segmentations] == [False, True] * 3
    (mask,) = rle.decode([tracks[0].segmentations[2]], 48, 64)
    assert np.array_equal(mask, disc(48, 64, 14, 24, 9))
    assert dataset.index.annotated_frames().all()


@pytest.mark.parametrize("extra", [{}, {"annotations": None}, {"annotations": []}])
def test_validation_files_without_annotations_load(tmp_path, extra):
    index = read_vis(write(tmp_path, videos=[VIDEO], categories=CATEGORIES, **extra))
    assert index.video_ids.tolist() == [7]
    assert index.first_track.tolist() == [0, 0]
    assert not index.annotated_frames().any()
    image = {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}
    assert read_coco(write(tmp_path, images=[image], categories=CATEGORIES, **extra)).first_track.tolist() == [0, 0]


def test_the_order_of_keys_does_not_matter(tmp_path):
    parts = {"categories": CATEGORIES, "videos": [VIDEO], "annotations": [TRACK, {**TRACK, "id": 2}]}
    for order in (("annotations", "videos", "categories"), ("videos", "annotations", "categories"), tuple(parts)):
        index = read_vis(write(tmp_path, **{key: parts[key] for key in order}))
        assert index.track_ids.tolist() == [1, 2]
        assert index.track_categories.tolist() == [1, 1]


def test_tracks_are_grouped_by_video_whatever_their_order(tmp_path):
    videos = [{**VIDEO, "id": number} for number in (7, 3)]
    owners = (3, 7, 3)
    tracks = [{**TRACK, "id": k, "video_id": owner} for k, owner in enumerate(owners)]
    dataset = write_set(tmp_path, "vis", videos=videos, categories=CATEGORIES, annotations=tracks)
    assert [[t.id for t in dataset.tracks(row)] for row in (0, 1)] == [[1], [0, 2]]


def test_coco_images_are_videos_of_one_frame(tmp_path):
    dataset = small_images(tmp_path, height=48, width=64)
    assert {v.length for v in dataset.videos} == {1}
    assert [len(dataset.tracks(row)) for row in range(6)] == [1, 1, 1, 1, 1, 0]
    assert dataset.tracks(4)[0].iscrowd
    assert dataset.index.annotated_frames().tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 8}, "video_id 8 is not in `videos`"),
        ({"category_id": 1}, "category_id 1 is not in `categories`"),
        ({"segmentations": [None]}, "1 segmentations for a video of 2 frames"),
        ({"segmentations": None}, "NoneType"),
    ],
)
def test_contradictions_are_named(tmp_path, change, message):
    path = write(tmp_path, videos=[VIDEO], categories=CATEGORIES, annotations=[{**TRACK, **change}])
    with pytest.raises(Integrity, match=message) as caught:
        read_vis(path)
    assert caught.value.where.endswith("annotations, id 1")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"videos": [VIDEO]}, "no categories"),
        ({"categories": CATEGORIES}, "no list of videos"),
        ({"categories": CATEGORIES, "videos": [{"id": 1}]}, "'file_names' is missing"),
        ({"categories": CATEGORIES, "videos": [VIDEO, VIDEO]}, "occurs twice"),
        ({"categories": CATEGORIES * 2, "videos": [VIDEO]}, "same id"),
        ({"categories": CATEGORIES, "videos": [{**VIDEO, "file_names": []}]}, "no frames"),
    ],
)
def test_incomplete_documents_are_named(tmp_path, document, message):
    with pytest.raises(Integrity, match=message):
        read_vis(write(tmp_path, **document))


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": 1,}', '{"a": [1, 2}', "[1]", '{"annotations": [{"id": 1}, {]}', "null"]
)
def test_broken_json_is_an_integrity_error_with_its_place(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(Integrity) as caught:
        read_vis(path)
    assert str(path) in caught.value.where


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "binary.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(Integrity, match="UTF-8"):
        read_vis(tmp_path / "binary.json")
    with pytest.raises(Missing):
        read_vis(tmp_path / "none.json")


def test_names_resolve_to_either_layout(tmp_path):
    for name, layout in LAYOUTS.items():
        for pick in (0, -1):
            root = tmp_path / f"{name}{pick}"
            (root / layout.frames[pick]).mkdir(parents=True)
            annotations = root / layout.annotations[pick]
            annotations.parent.mkdir(parents=True, exist_ok=True)
            annotations.write_text("{}")
            found = resolve_source(DataSource(name), root)
            assert (found.kind, found.annotations) == (layout.kind, str(annotations))
            assert found.frames == str(root / layout.frames[pick])


def test_missing_sets_name_every_expected_place(tmp_path):
    with pytest.raises(Missing) as caught:
        resolve_source(DataSource("ytvis19_val"), tmp_path)
    assert "ytvis_2019/val/JPEGImages" in caught.value.where
    assert "ytvis_2019/valid/JPEGImages" in caught.value.where
    with pytest.raises(InvalidInput, match="ytvis19_vall"):
        resolve_source(DataSource("ytvis19_vall"), tmp_path)


def test_a_custom_set_needs_no_name(tmp_path):
    small_videos(tmp_path)
    source = DataSource(kind="vis", frames=str(tmp_path / "frames"), annotations=str(tmp_path / "instances.json"))
    assert len(open_dataset(resolve_source(source, tmp_path / "nowhere")).videos) == 3
