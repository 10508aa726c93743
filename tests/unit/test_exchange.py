"""Label formats: what is written is read back; files as the tools write them; half-broken and hostile files."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from idol_core.data.exchange.cvat_interpolation import _nearest, interpolate_polygon
from idol_core.data.exchange.formats import FORMATS, find_format
from idol_core.data.exchange.label_studio_brush import encode_brush
from idol_core.data.exchange.labels import ImageFiles, VideoFrames, as_array, as_images
from idol_core.errors import Integrity, InvalidInput
from tests.unit.label_sets import compared, made_labels, write_images

HOLDS_POLYGONS = {"cvat", "labelme", "yolo"}
NO_IDENTITIES = {"yolo"}

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>3</id> <name>my clip</name> <size>8</size> <mode>interpolation</mode> <overlap>0</overlap>
      <start_frame>10</start_frame> <stop_frame>24</stop_frame> <frame_filter>step=2</frame_filter>
      <labels>
        <label><name>car</name><color>#f00</color><type>any</type>
          <attributes><attribute><name>make</name><mutable>False</mutable></attribute></attributes></label>
        <label><name>person</name></label>
      </labels>
      <original_size><width>96</width><height>64</height></original_size>
      <source>drive.mp4</source>
    </task>
    <dumped>2026-01-01 00:00:00+00:00</dumped>
  </meta>
  <track id="0" label="car" source="manual">
    <polygon frame="12" keyframe="1" outside="0" occluded="0" points="10.00,10.00;30.00,10.00;30.00,30.00;10.00,30.00"
      z_order="0"><attribute name="make">Honda</attribute></polygon>
    <polygon frame="20" keyframe="1" outside="1" occluded="0" points="30.00,10.00;50.00,10.00;50.00,30.00;30.00,30.00"
      z_order="0"></polygon>
  </track>
  <track id="1" label="person" source="manual">
    <mask frame="14" keyframe="1" outside="0" occluded="0" rle="1, 2, 1, 4" left="5" top="6" width="4" height="2"
      z_order="0"></mask>
    <mask frame="16" keyframe="1" outside="1" occluded="0" rle="1, 2, 1, 4" left="5" top="6" width="4" height="2"
      z_order="0"></mask>
  </track>
  <track id="3" label="person" source="manual">
    <mask frame="22" keyframe="1" outside="0" occluded="0" rle="0, 8" left="90" top="60" width="4" height="2"
      z_order="0"></mask>
  </track>
  <track id="2" label="person" source="manual">
    <box frame="14" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="2.00" xbr="3.00" ybr="4.00" z_order="0"></box>
  </track>
</annotations>
"""


@pytest.mark.parametrize("name", FORMATS)
def test_a_set_written_in_a_format_is_read_back(name, tmp_path):
    labels = FORMATS[name].fit(made_labels())
    if FORMATS[name].images is not None:
        write_images(labels, tmp_path / FORMATS[name].images)
    FORMATS[name].write(labels, tmp_path)
    assert find_format(tmp_path) == name
    again = FORMATS[name].read(tmp_path)
    least = compared(as_images(labels) if name in NO_IDENTITIES else labels, again)
    assert least >= 0.99 if name in HOLDS_POLYGONS else least == 1
    assert [told for told in again.left_out if not told.startswith("classes: ")] == []


def test_cvat_polygons_are_interpolated_and_masks_are_of_their_frame_only(tmp_path):
    (tmp_path / "annotations.xml").write_text(CVAT)
    labels = FORMATS["cvat"].read(tmp_path)
    (clip,) = labels.clips
    assert labels.categories == ("car", "person")
    assert clip.frames == VideoFrames("drive.mp4", range(10, 26, 2))
    car, person, last = clip.tracks
    assert (last.id, sorted(last.masks)) == (3, [6])
    assert sorted(car.masks) == [1, 2, 3, 4]
    assert car.masks[3] == ((20.0, 10.0, 40.0, 10.0, 40.0, 30.0, 20.0, 30.0),)
    assert sorted(person.masks) == [2]
    mask = as_array(person.masks[2], 64, 96)
    assert mask[6:8, 5:9].tolist() == [[False, True, True, False], [True, True, True, True]]
    assert mask.sum() == 6
    assert labels.left_out == ("1 shapes of the kind 'box', which have no mask",)


def test_cvat_outlines_of_different_numbers_of_corners_are_paired_by_arc_length():
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)
    triangle = np.array([[0, 0], [20, 0], [0, 20]], float)
    middle = interpolate_polygon(square, triangle, 0.5)
    assert middle.tolist() == [[0, 0], [15, 0], [15, 5], [0, 15]]
    assert interpolate_polygon(square, square + 4, 0.25).tolist() == (square + 1).tolist()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("<annotations>", '<!DOCTYPE a [<!ENTITY e "eee">]><annotations>', "document type"),
        ("</annotations>", "", "not XML"),
        ("10.00,10.00;30.00", "10.00,x;30.00", "no pairs of numbers"),
        ("10.00,10.00;30.00", "1e999,10.00;30.00", "are not finite"),
        ('rle="1, 2, 1, 4"', 'rle="1, 2, 1, 5"', "do not add up"),
        ('rle="1, 2, 1, 4"', 'rle="1, 2, 999999999999, 4"', "do not add up"),
        ('frame="12"', 'frame="13"', "frame 13 is not one of the task"),
        ('frame="12"', 'frame="40"', "after the last"),
        ('<track id="1"', '<track id="0"', "two tracks have the id 0"),
        ("<width>96</width>", "<width>9600000</width>", "65535 a side"),
        ("<size>8</size>", "<size>99999999999</size>", "a task of"),
    ],
)
def test_a_broken_cvat_file_is_an_error_with_its_line(tmp_path, old, new, told):
    assert old in CVAT
    (tmp_path / "annotations.xml").write_text(CVAT.replace(old, new))
    with pytest.raises(Integrity, match=told) as error:
        FORMATS["cvat"].read(tmp_path)
    assert error.value.where.startswith(f"{tmp_path}/annotations.xml:")
    assert error.value.fix


def test_labelme_shapes_of_one_group_are_one_track(tmp_path):
    png = io.BytesIO()
    Image.fromarray(np.array([[True, False], [True, True]])).save(png, "PNG")
    polygon = {"label": "car", "points": [[1, 1], [9, 1], [9, 9.5], [1, 9.5]], "group_id": 4, "shape_type": "polygon"}
    mask = {
        "label": "car", "points": [[20, 10], [21, 11]], "group_id": 4, "shape_type": "mask", "flags": {},
        "mask": base64.b64encode(png.getvalue()).decode(),
    }  # fmt: skip
    other = polygon | {"label": "person", "group_id": 4}
    alone = polygon | {"group_id": None}
    box = {"label": "car", "points": [[1, 1], [5, 5]], "group_id": 4, "shape_type": "rectangle"}
    for number, shapes in enumerate([[polygon, mask], [], [polygon, other, alone, box]]):
        _labelme(tmp_path / "drive" / f"f{number}.json", shapes)
        Image.new("RGB", (40, 30)).save(tmp_path / "drive" / f"f{number}.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "drive" / "f3.png")
    labels = FORMATS["labelme"].read(tmp_path)
    (clip,) = labels.clips
    assert clip.frames.names == ("drive/f0.png", "drive/f1.png", "drive/f2.png")
    assert {(track.category, tuple(track.masks)) for track in clip.tracks} == {
        ("car", (0, 2)), ("person", (2,)), ("car", (2,)),
    }  # fmt: skip
    both = as_array(clip.tracks[0].masks[0], 30, 40)
    assert both[10:12, 20:22].tolist() == [[True, False], [True, True]]
    assert both[2, 2]
    assert len(labels.left_out) == 4
    assert any(sentence.startswith("1 group_ids of several classes") for sentence in labels.left_out)


def test_labelme_images_without_identities_may_differ_in_size_and_lie_elsewhere(tmp_path):
    polygon = {"label": "car", "points": [[1, 1], [9, 1], [9, 9]], "group_id": None, "shape_type": "polygon"}
    _labelme(tmp_path / "0.json", [polygon], imagePath="..\\images\\a 0.jpg")
    _labelme(tmp_path / "1.json", [polygon], imageHeight=50, imageWidth=20)
    labels = FORMATS["labelme"].read(tmp_path)
    assert not labels.tracked
    assert [(c.name, c.height, c.width, c.frames.names) for c in labels.clips] == [
        ("a 0", 30, 40, ("a 0.jpg",)), ("1", 50, 20, ("1.png",)),
    ]  # fmt: skip
    for number in (0, 1):
        _labelme(tmp_path / f"{number}.json", [polygon | {"group_id": 1}], imageHeight=30 + number)
    with pytest.raises(Integrity, match="31 x 40, those before it in its folder are 30 x 40"):
        FORMATS["labelme"].read(tmp_path)


def test_the_order_of_cvats_images_is_not_guessed(tmp_path):
    """CVAT sorts img_10 before img_2 unless told otherwise, and its file has numbers only."""
    (tmp_path / "images").mkdir()
    text = CVAT.replace("interpolation", "annotation").replace("drive.mp4", "").replace('label="car"', 'label=" car "')
    (tmp_path / "annotations.xml").write_text(text)
    for n in range(2, 10):
        Image.new("RGB", (96, 64)).save(tmp_path / "images" / f"img_{n}.jpg")
    labels = FORMATS["cvat"].read(tmp_path)
    assert labels.clips[0].frames.names[0] == "images/img_2.jpg"
    assert labels.categories == ("car", "person")
    (tmp_path / "images" / "img_2.jpg").rename(tmp_path / "images" / "img_10.jpg")
    with pytest.raises(Integrity, match=r"img_10\.jpg before img_9\.jpg") as error:
        FORMATS["cvat"].read(tmp_path)
    assert "COCO" in error.value.fix
    (tmp_path / "annotations.xml").write_text(CVAT)  # frames of a video are in the order of their numbers
    assert FORMATS["cvat"].read(tmp_path).clips[0].frames.names[-1] == "images/img_10.jpg"


def _labelme(path, shapes, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": path.with_suffix(".png").name,
        "imageData": None, "imageHeight": 30, "imageWidth": 40,
    }  # fmt: skip
    path.write_text(json.dumps(content | changes))


CVAT_COCO = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
    "categories": [{"id": 1, "name": "car", "supercategory": ""}, {"id": 2, "name": "person", "supercategory": ""}],
    "images": [
        {"id": n, "width": 8, "height": 6, "file_name": f"frame_{n + 9:06d}.PNG", "license": 0, "flickr_url": "",
         "coco_url": "", "date_captured": 0} for n in (1, 2, 3)
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1.0, 1.0, 4.0, 1.0, 4.0, 4.0, 1.0, 4.0]],
         "area": 9.0, "bbox": [1.0, 1.0, 3.0, 3.0], "iscrowd": 0,
         "attributes": {"occluded": False, "track_id": 5, "keyframe": True}},
        {"id": 2, "image_id": 3, "category_id": 1, "segmentation": {"counts": [7, 3, 38], "size": [6, 8]},
         "area": 3.0, "bbox": [1.0, 1.0, 1.0, 3.0], "iscrowd": 1,
         "attributes": {"occluded": False, "track_id": 5, "keyframe": False}},
        {"id": 3, "image_id": 2, "category_id": 2, "segmentation": [], "area": 3.0, "bbox": [1.0, 1.0, 1.0, 3.0],
         "iscrowd": 0, "attributes": {"occluded": False, "track_id": 6}},
    ],
}  # fmt: skip


def test_cvats_coco_keeps_track_ids_and_refers_to_the_videos_frames(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_default.json").write_text(json.dumps(CVAT_COCO))
    assert find_format(tmp_path) == "coco"
    labels = FORMATS["coco"].read(tmp_path)
    (clip,) = labels.clips
    assert clip.frames == VideoFrames("", [10, 11, 12])
    (car,) = clip.tracks
    assert (car.id, car.category, car.crowd, sorted(car.masks)) == (5, "car", False, [0, 2])
    assert as_array(car.masks[2], 6, 8).sum() == 3
    assert labels.left_out == ("1 annotations without a mask",)


def test_roboflows_folders_are_sorted_into_clips_by_the_videos_name(tmp_path):
    for part, numbers in (("train", (3, 1)), ("valid", (2,))):
        (tmp_path / part).mkdir()
        content = {
            "categories": [{"id": 0, "name": "animals", "supercategory": "none"},
                           {"id": 1, "name": "fox", "supercategory": "animals"}],
            "images": [{"id": i, "height": 6, "width": 8, "file_name": f"den_mp4-{n}_jpg.rf.0ab{n}.jpg"}
                       for i, n in enumerate(numbers)],
            "annotations": [{"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "attributes": {"track_id": "2"},
                             "segmentation": [[1, 1, 4, 1, 4, 4]]} for i, n in enumerate(numbers)],
        }  # fmt: skip
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(content))
    labels = FORMATS["coco"].read(tmp_path)
    assert labels.categories == ("fox",)
    (clip,) = labels.clips
    folders = {1: "train", 2: "valid", 3: "train"}
    assert clip.frames.names == tuple(f"{folders[n]}/den_mp4-{n}_jpg.rf.0ab{n}.jpg" for n in (1, 2, 3))
    assert [(track.id, sorted(track.masks)) for track in clip.tracks] == [(2, [0, 1, 2])]


def test_label_studios_regions_get_the_identity_of_their_field(tmp_path):
    size = {"original_width": 40, "original_height": 30, "image_rotation": 0, "to_name": "image"}
    polygon = size | {
        "id": "aB3", "from_name": "label", "type": "polygonlabels",
        "value": {"points": [[10, 10], [50, 10], [50, 50], [10, 50]], "closed": True, "polygonlabels": ["Car"]},
    }  # fmt: skip
    mask = np.zeros((30, 40), bool)
    mask[3:9, 5:37] = True
    brush = size | {
        "id": "c", "from_name": "label", "type": "brushlabels",
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["Car"]},
    }  # fmt: skip
    named = [{"id": i, "from_name": "track_id", "type": "number", "value": {"number": 7}, **size} for i in ("aB3", "c")]
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/4/0a1b2c3d-den_10.jpg"}, "annotations": [
            {"was_cancelled": True, "result": []}, {"was_cancelled": False, "result": [brush, named[1]]}]},
        {"id": 2, "data": {"image": "/data/upload/4/5a1b2c3d-den_9.jpg"},
         "annotations": [{"result": [polygon, named[0]]}]},
        {"id": 3, "data": {"image": "/data/upload/4/6a1b2c3d-den_11.jpg"}, "annotations": [{"result": []}]},
        {"id": 4, "data": {"image": "/data/upload/4/7a1b2c3d-den_12.jpg"}, "annotations": []},
    ]  # fmt: skip
    (tmp_path / "project-4.json").write_text(json.dumps(tasks))
    assert find_format(tmp_path / "project-4.json") == "label-studio"
    labels = FORMATS["label-studio"].read(tmp_path / "project-4.json")
    assert labels.left_out == ("1 tasks that nobody labelled",)
    (clip,) = labels.clips
    assert (clip.name, clip.frames.names) == ("den", ("den_9.jpg", "den_10.jpg", "den_11.jpg"))
    (track,) = clip.tracks
    assert (track.id, track.category) == (7, "Car")
    assert track.masks[0] == ((4.0, 3.0, 20.0, 3.0, 20.0, 15.0, 4.0, 15.0),)
    assert (as_array(track.masks[1], 30, 40) == mask).all()


# Half-broken files of each format: the change, and what the error says.
def _broken_labelme(path):
    _labelme(path / "0.json", [{"label": "car", "points": [[1, 1], [5, "x"], [3, 9]], "shape_type": "polygon"}])


def _bomb_labelme(path):
    png = io.BytesIO()
    Image.new("1", (20000, 9000)).save(png, "PNG")
    mask = base64.b64encode(png.getvalue()).decode()
    _labelme(path / "0.json", [{"label": "a", "points": [[0, 0], [1, 1]], "shape_type": "mask", "mask": mask}])


def _escaping_labelme(path):
    _labelme(path / "0.json", [], imagePath="..\\..")


def _coco(path, **changes):
    (path / "a.json").write_text(json.dumps(CVAT_COCO | changes))


def _two_classes(path):
    first, second, third = CVAT_COCO["annotations"]
    _coco(path, annotations=[first, second | {"category_id": 2}, third])


def _escaping_coco(path):
    _coco(path, images=[CVAT_COCO["images"][0] | {"file_name": "/etc/passwd"}, *CVAT_COCO["images"][1:]])


def _long_name(path):
    _coco(path, images=[CVAT_COCO["images"][0] | {"file_name": "é" * 130 + ".jpg"}, *CVAT_COCO["images"][1:]])


def _short_rle(path):
    first, second, third = CVAT_COCO["annotations"]
    _coco(path, annotations=[first, second | {"segmentation": {"counts": "071", "size": [6, 8]}}, third])


def _huge_brush(path):
    value = {"format": "rle", "rle": [0], "brushlabels": ["a"]}
    region = {"id": "a", "type": "brushlabels", "original_width": 32768, "original_height": 32767, "value": value}
    (path / "a.json").write_text(json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}]))


def _cut_brush(path):
    value = {"format": "rle", "rle": encode_brush(np.eye(30, 40, dtype=bool))[:40], "brushlabels": ["a"]}
    region = {"id": "a", "type": "brushlabels", "original_width": 40, "original_height": 30, "value": value}
    (path / "a.json").write_text(json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}]))


def _yolo(line):
    def make(path):
        for folder in ("images", "labels"):
            (path / folder).mkdir()
        Image.new("RGB", (40, 30)).save(path / "images" / "a.png")
        (path / "data.yaml").write_text("names: [car]")
        (path / "labels" / "a.txt").write_text(f"0 0.1 0.1 0.5 0.1 0.5 0.5\n{line}\n")

    return make


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("labelme", _broken_labelme, "finite numbers|flat list"),
        ("labelme", _bomb_labelme, "no PNG"),
        ("labelme", _escaping_labelme, "leads out"),
        ("coco", _two_classes, "track 5 is of class 'car'"),
        ("coco", _escaping_coco, "leads out"),
        ("coco", _long_name, "is too long"),
        ("coco", _short_rle, "RLE|add up"),
        ("label-studio", _cut_brush, "cut short"),
        ("label-studio", _huge_brush, "at most 100,000,000"),
        ("yolo", _yolo("3 0.1 0.1 0.5 0.1 0.5 0.5"), "class '3'"),
        ("yolo", _yolo("0 0.1 nan 0.5 0.1 0.5 0.5"), "no fractions"),
        ("yolo", _yolo("0 120 5 130 8 140 9"), "no fractions"),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_entry(name, make, told, tmp_path):
    make(tmp_path)
    with pytest.raises(Integrity, match=told) as error:
        FORMATS[name].read(tmp_path)
    assert str(tmp_path) in error.value.where
    assert error.value.fix


def test_yolos_class_names_and_lines_may_begin_with_a_byte_order_mark(tmp_path):
    _yolo("1 .1 .1 .5 .1 .5 .5")(tmp_path)
    (tmp_path / "data.yaml").unlink()
    mark = b"\xef\xbb\xbf"  # as Windows editors write
    (tmp_path / "classes.txt").write_bytes(mark + b"car\r\nCar\r\n")
    (tmp_path / "labels" / "a.txt").write_bytes(mark + (tmp_path / "labels" / "a.txt").read_bytes())
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "background.png")
    labels = FORMATS["yolo"].read(tmp_path)
    assert labels.categories == ("car", "Car")
    assert [track.category for track in labels.clips[0].tracks] == ["car", "Car"]
    assert labels.left_out == ("1 images without a label file",)
    for names in ("car\n\nCar\n", "car\ncar\n"):  # is Car class 1 or 2?
        (tmp_path / "classes.txt").write_text(names)
        with pytest.raises(Integrity, match="numbered by their lines"):
            FORMATS["yolo"].read(tmp_path)


def test_pairs_of_corners_are_those_of_the_full_comparison():
    generator = np.random.default_rng(0)
    for _ in range(200):
        ascending, values = (np.sort(generator.integers(0, 9, generator.integers(1, 12))) / 8 for _ in range(2))
        assert _nearest(values, ascending).tolist() == np.abs(values[:, None] - ascending).argmin(1).tolist()


def _masks_of(frame, number):
    box = f'<mask frame="{frame}" outside="0" rle="0, 8" left="9" top="6" width="4" height="2"></mask>'
    return f'<track id="{number}" label="car">{box}</track>'


def _outline(frame, corners):
    points = ";".join(["1,1", "9,1", "9,9"] * (corners // 3))
    return f'<polygon frame="{frame}" outside="0" points="{points}"></polygon>'


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"<width>96</width><height>64": "<width>46000</width><height>46000"}, "46000 pixels: at most 100,000,000"),
        ({"</meta>": "</meta>" + "".join(_masks_of(10, n + 9) for n in range(17)), ">8<": ">1048576<"}, "places for"),
        (
            {"</meta>": f'</meta><track id="9" label="car">{_outline(10, 60)}{_outline(2**20, 60)}</track>',
             ">8<": ">1048576<"},
            "corners in all",
        ),
    ],
)  # fmt: skip
def test_a_small_cvat_file_cannot_ask_for_gigabytes(changes, told, tmp_path):
    text = CVAT
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "annotations.xml").write_text(text)
    tracemalloc.start()
    with pytest.raises(Integrity, match=told):
        FORMATS["cvat"].read(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


def test_further_labels_of_a_region_are_told(tmp_path):
    value = {"points": [[10, 10], [50, 10], [50, 50]], "polygonlabels": ["car", "truck"]}
    region = {"id": "a", "type": "polygonlabels", "original_width": 40, "original_height": 30, "value": value}
    task = {"data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"}, "annotations": [{"result": [region]}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    labels = FORMATS["label-studio"].read(tmp_path)
    assert labels.categories == ("car",)
    assert labels.left_out == ("1 further labels of regions, of which the first is taken",)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_crowd_never_comes_back_as_an_object(name, tmp_path):
    labels = made_labels(clips=1, frames=3)
    (clip,) = labels.clips
    crowd = replace(clip.tracks[0], id=9, crowd=True)
    labels = replace(labels, clips=(replace(clip, tracks=(*clip.tracks[1:], crowd)),))
    fitted = FORMATS[name].fit(labels)
    FORMATS[name].write(fitted, tmp_path)
    write_images(fitted, tmp_path / (FORMATS[name].images or ""))
    (tmp_path / "JPEGImages").mkdir(exist_ok=True)
    read = FORMATS[name].read(tmp_path)
    objects = [track for clip in read.clips for track in clip.tracks if not track.crowd]
    assert len(objects) == (sum(len(track.masks) for track in clip.tracks[1:]) if name == "yolo" else 2)
    kept = any(track.crowd for clip in read.clips for track in clip.tracks)
    assert kept != any("1 crowds" in sentence for sentence in fitted.left_out)


def test_images_that_cvat_would_sort_otherwise_are_told(tmp_path):
    labels = made_labels(clips=1, frames=3)
    assert FORMATS["cvat"].fit(labels).left_out == ()
    (clip,) = labels.clips
    numbered = replace(clip, frames=ImageFiles(("a/9.jpg", "a/10.jpg", "a/11.jpg")))
    (told,) = FORMATS["cvat"].fit(replace(labels, clips=(numbered,))).left_out
    assert "CVAT sorts 10.jpg before 9.jpg" in told


@pytest.mark.parametrize("name", ["a.json", "a.xml", "a.png", "a.txt", "gt/gt.txt", "annotations/a.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_folder_or_a_pipe_in_the_place_of_a_label_file_is_no_label_file(make, name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    signal.alarm(20)  # a pipe that is opened waits for its writer
    try:
        with pytest.raises(InvalidInput, match="no label format"):
            find_format(tmp_path)
    finally:
        signal.alarm(0)
