"""Label formats: what is written is read back; files as the tools write them; half-broken and hostile files."""

from __future__ import annotations

import numpy as np
import pytest

from idol_core.data.exchange.cvat_interpolation import interpolate_polygon
from idol_core.data.exchange.formats import FORMATS, find_format
from idol_core.data.exchange.labels import VideoFrames, as_array
from idol_core.errors import Integrity
from tests.unit.label_sets import compared, made_labels, write_images

HOLDS_POLYGONS = {"cvat", "labelme"}

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
  <track id="2" label="person" source="manual">
    <box frame="14" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="2.00" xbr="3.00" ybr="4.00" z_order="0"></box>
  </track>
</annotations>
"""


@pytest.mark.parametrize("name", FORMATS)
def test_a_set_written_in_a_format_is_read_back(name, tmp_path):
    labels = made_labels()
    if FORMATS[name].images is not None:
        write_images(labels, tmp_path / FORMATS[name].images)
    FORMATS[name].write(labels, tmp_path)
    assert find_format(tmp_path) == name
    again = FORMATS[name].read(tmp_path)
    least = compared(labels, again)
    assert least >= 0.99 if name in HOLDS_POLYGONS else least == 1


def test_cvat_polygons_are_interpolated_and_masks_are_of_their_frame_only(tmp_path):
    (tmp_path / "annotations.xml").write_text(CVAT)
    labels = FORMATS["cvat"].read(tmp_path)
    (clip,) = labels.clips
    assert labels.categories == ("car", "person")
    assert clip.frames == VideoFrames("drive.mp4", range(10, 26, 2))
    car, person = clip.tracks
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
        ("10.00,10.00;30.00", "1e999,10.00;30.00", "no finite numbers"),
        ('rle="1, 2, 1, 4"', 'rle="1, 2, 1, 5"', "do not add up"),
        ('rle="1, 2, 1, 4"', 'rle="1, 2, 999999999999, 4"', "do not add up"),
        ('frame="12"', 'frame="13"', "frame 13 is not one of the task"),
        ('frame="12"', 'frame="40"', "after the last"),
        ('<track id="1"', '<track id="0"', "two tracks have the id 0"),
        ("<width>96</width>", "<width>9600000</width>", "can't be"),
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
