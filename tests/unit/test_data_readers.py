"""COCO and YTVIS files as users have them: every form of segmentation, nulls, odd ids, and broken files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from idol_core.config import DataSource
from idol_core.data.annotations import rle
from idol_core.data.annotations.coco import read_coco
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.annotations.segmentation import read_segmentation
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
        (decoded,) = rle.decode([read_segmentation(form, 20, 30).rle], 20, 30)
        assert np.array_equal(decoded, MASK)


def test_runs_begin_with_zeros_also_where_the_first_pixel_is_set():
    full = np.ones((3, 4), bool)
    assert rle.uncompressed(full) == {"counts": [0, 12], "size": [3, 4]}
    assert rle.decode([read_segmentation(rle.uncompressed(full), 3, 4).rle], 3, 4).all()


def test_polygons_are_joined_and_slivers_dropped():
    square, other = [2, 2, 10, 2, 10, 10, 2, 10], [15, 5, 25, 5, 25, 9, 15, 9]
    (mask,) = rle.decode([read_segmentation([square, [1, 1, 2, 2], other], 20, 30).rle], 20, 30)
    assert mask[2:10, 2:10].all()
    assert mask[5:9, 15:25].all()
    assert mask.sum() == 8 * 8 + 10 * 4
    assert read_segmentation([[1, 1, 2, 2]], 20, 30).rle is None
    assert read_segmentation([], 20, 30).rle is None


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"counts": [100, 499], "size": [20, 30]}, "do not add up to the 20 x 30 pixels"),
        ({"counts": [-5, 605], "size": [20, 30]}, "do not add up to"),
        ({"counts": "abc", "size": [30, 20]}, r"size \[30, 20\]"),
        ("abc", "neither RLE nor polygons"),
        ({"counts": None, "size": [20, 30]}, "counts of an RLE are null"),
        ({"size": [20, 30]}, "without `counts`"),
        ([[1, 1], [9, 1], [9, 9]], "a list of points"),
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
        ({"segmentations": None}, "segmentations null is not a list"),
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
        ({"categories": CATEGORIES}, "no list `videos`"),
        ({"categories": CATEGORIES, "videos": [{"id": 1, "height": 2, "width": 2}]}, "'file_names' is missing"),
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


IMAGE = {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}
SQUARE = [2, 2, 10, 2, 10, 10, 2, 10]
OBJECT = {"id": 3, "image_id": 1, "category_id": 9, "segmentation": [SQUARE]}


def read_one(tmp_path, annotation=OBJECT, image=IMAGE, categories=CATEGORIES):
    return read_coco(write(tmp_path, images=[image], categories=categories, annotations=[annotation]))


@pytest.mark.parametrize("form", [[SQUARE], SQUARE, rle.uncompressed, lambda m: [rle.to_json(rle.encode(m))]])
def test_forms_of_a_mask_that_are_read(tmp_path, form):
    square = np.zeros((20, 30), bool)
    square[2:10, 2:10] = True
    index = read_one(tmp_path, OBJECT | {"segmentation": form(square) if callable(form) else form})
    (mask,) = rle.decode([index.segment(0, 0, [20, 30])], 20, 30)
    assert np.array_equal(mask, square)
    assert index.segment_areas.tolist() == [64]


@pytest.mark.parametrize(
    "form",
    [
        [[SQUARE]],
        [[[2, 2], [10, 2], [10, 10]]],
        [{"x": 2, "y": 2}, {"x": 10, "y": 2}, {"x": 10, "y": 10}],
        ["2", "2", "10", "2", "10", "10"],
        [[2, 2, 10, "2", 10, 10]],
        [[2, 2, 10, 2, 10, True]],
        [[2, 2, 10, 2, 10, 10, 5]],
        [SQUARE, 3],
        json.dumps([SQUARE]),
        True,
        [[2, 2, 10, 2, 10, math.nan]],
        [[2, 2, 10, 2, 10, 1e9]],
        [[2, 2, 10, 2, 61, 10]],
        [[-31, 2, 10, 2, 10, 10]],
        [[2, 2, 10, 2, 10, 10**400]],
        {"counts": "", "size": [20, 30]},
        {"counts": [600.0], "size": [20, 30]},
        {"counts": [2**40, 600 - 2**40], "size": [20, 30]},
        {"counts": rle.encode(np.ones((20, 30), bool))["counts"].decode(), "size": [30, 20]},
        {"counts": rle.encode(np.ones((40, 30), bool))["counts"].decode(), "size": [20, 30]},
        {"counts": rle.encode(disc(20, 30, 9, 9, 5))["counts"].decode()[:-1], "size": [20, 30]},
        [rle.uncompressed(MASK)] * 2,
    ],
)
def test_forms_of_a_mask_that_are_refused(tmp_path, form):
    with pytest.raises(Integrity) as caught:
        read_one(tmp_path, OBJECT | {"segmentation": form})
    assert caught.value.where.endswith("annotations, id 3")


def test_a_polygon_that_takes_gigabytes_to_draw_is_refused(tmp_path):
    wide = IMAGE | {"height": 20_000, "width": 60_000}
    there_and_back = [v for _ in range(100) for v in (0, 0, 60_000, 20_000)]
    with pytest.raises(Integrity, match="pixels long"):
        read_one(tmp_path, OBJECT | {"segmentation": [there_and_back]}, wide)


@pytest.mark.parametrize("form", [None, [], [[]], [[1, 1, 2, 2]], [1, 1, 2, 2], "absent"])
def test_absent_and_empty_segmentations_are_no_mask(tmp_path, form):
    annotation = {k: v for k, v in OBJECT.items() if k != "segmentation"}
    index = read_one(tmp_path, annotation | ({} if form == "absent" else {"segmentation": form}))
    assert index.segment(0, 0, [20, 30]) is None
    assert index.track_ids.tolist() == [3]


@pytest.mark.parametrize(("value", "read"), [(7, 7), ("7", 7), (7.0, 7), ("-7", -7), (2**63 - 1, 2**63 - 1)])
def test_ids_are_integers_or_their_text(tmp_path, value, read):
    annotation = OBJECT | {"id": value, "image_id": value, "category_id": value}
    index = read_one(tmp_path, annotation, IMAGE | {"id": read}, [{"id": str(read), "name": "a"}])
    assert [a.tolist() for a in (index.track_ids, index.video_ids, index.category_ids)] == [[read]] * 3


@pytest.mark.parametrize(
    "value", [None, True, 1.5, "1.5", "one", "", " 1", "1_0", "\u0663", 2**63, "9" * 25, [1], {}, 1e400]
)
@pytest.mark.parametrize("field", ["id", "image_id", "category_id"])
def test_ids_that_are_refused(tmp_path, value, field):
    with pytest.raises(Integrity, match=f"{field} .* not a 64-bit integer|id .* not a 64-bit integer"):
        read_one(tmp_path, OBJECT | {field: value})
    with pytest.raises(Integrity, match="not a 64-bit integer"):
        read_one(tmp_path, OBJECT, IMAGE | {"id": value})
    with pytest.raises(Integrity, match="not a 64-bit integer"):
        read_one(tmp_path, OBJECT, IMAGE, [{"id": value, "name": "a"}])


@pytest.mark.parametrize(
    ("value", "crowd"), [(0, 0), (1, 1), (False, 0), (True, 1), ("0", 0), ("1", 1), (None, 0), (0.0, 0), (1.0, 1)]
)
def test_every_usual_form_of_iscrowd_is_read(tmp_path, value, crowd):
    assert read_one(tmp_path, OBJECT | {"iscrowd": value}).track_crowd.tolist() == [bool(crowd)]
    assert read_one(tmp_path).track_crowd.tolist() == [False]


@pytest.mark.parametrize("value", [2, -1, "", "false", [0], 0.5, {}])
def test_other_values_of_iscrowd_are_refused(tmp_path, value):
    with pytest.raises(Integrity, match="iscrowd"):
        read_one(tmp_path, OBJECT | {"iscrowd": value})


@pytest.mark.parametrize(
    "change",
    [
        {"height": 70_000, "width": 70_000},
        {"height": 0},
        {"height": -20},
        {"width": None},
        {"width": 1e400},
        {"file_name": "\ud800.jpg"},
        {"file_name": "a\0.jpg"},
        {"file_name": ["a.jpg"]},
        {"file_name": {}},
    ],
)
def test_images_that_are_refused(tmp_path, change):
    with pytest.raises(Integrity) as caught:
        read_one(tmp_path, OBJECT, IMAGE | change)
    assert caught.value.where.endswith("images[0]")


@pytest.mark.parametrize("value", [None, 3, "x", [1], [[]]])
def test_entries_that_are_no_objects(tmp_path, value):
    for document, place in (
        ({"images": [IMAGE, value]}, "images[1]"),
        ({"categories": [*CATEGORIES, value]}, "categories[2]"),
        ({"annotations": [OBJECT, value]}, "annotations[1]"),
    ):
        whole = {"images": [IMAGE], "categories": CATEGORIES, "annotations": [OBJECT]} | document
        with pytest.raises(Integrity, match="is not an object") as caught:
            read_coco(write(tmp_path, **whole))
        assert caught.value.where.endswith(place)


def test_names_of_categories_that_are_refused(tmp_path):
    for name in ("\udfff", ["a"], True):
        with pytest.raises(Integrity, match="name"):
            read_one(tmp_path, categories=[{"id": 9, "name": name}])


def test_a_file_with_a_byte_order_mark(tmp_path):
    path = write(tmp_path, images=[IMAGE], categories=CATEGORIES, annotations=[OBJECT])
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_coco(path).track_ids.tolist() == [3]
    assert annotation_kind(path) == "coco"


def test_the_kind_of_a_file_that_lists_videos_and_images(tmp_path):
    images = {"images": [IMAGE], "annotations": [OBJECT]}
    assert annotation_kind(write(tmp_path, videos=[VIDEO], **images)) == "coco"
    assert annotation_kind(write(tmp_path, images=[], videos=[VIDEO], annotations=[TRACK])) == "vis"
    assert annotation_kind(write(tmp_path, images=[], videos=[VIDEO])) == "vis"
    assert annotation_kind(write(tmp_path, images=[IMAGE], videos=[], annotations=[])) == "coco"
    with pytest.raises(Integrity, match="neither videos nor images"):
        annotation_kind(write(tmp_path, categories=[]))


def test_scoring_needs_no_names_of_frames_but_training_does(tmp_path):
    nameless = {k: v for k, v in VIDEO.items() if k != "file_names"}
    document = {"videos": [nameless], "categories": CATEGORIES, "annotations": [TRACK]}
    assert read_vis(write(tmp_path, **document)).first_frame.tolist() == [0, 2]
    with pytest.raises(Integrity, match="file_names") as caught:
        write_set(tmp_path, "vis", **document)
    assert caught.value.where.endswith("videos, id 7")
