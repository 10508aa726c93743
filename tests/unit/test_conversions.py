"""Tracks in supervision, pandas and FiftyOne: the same boxes, masks, ids and classes as ours."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from idol_core.errors import InvalidInput, Missing
from idol_core.tracking.online import TrackedFrame
from idol_core.tracking.tracks import VideoTrack, VideoTracks

SIZE = (20, 30)


def counts_of(y0, x0, y1, x1):
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    return coco_mask.encode(mask)["counts"]


@pytest.fixture
def tracks():
    fox = VideoTrack(7, np.array([0.1, 0.8], np.float32), {0: counts_of(2, 3, 6, 9), 2: counts_of(0, 0, 20, 30)})
    car = VideoTrack(3, np.array([0.6, 0.2], np.float32), {2: counts_of(5, 5, 6, 6), 1: counts_of(0, 0, 0, 0)})
    return VideoTracks([fox, car], 3, SIZE)


def test_a_table_has_a_row_for_each_visible_track_and_frame(tracks):
    pytest.importorskip("pandas")
    table = tracks.to_pandas(["car", "fox"])
    assert table.columns.tolist() == ["track", "frame", "label", "name", "score", "x0", "y0", "x1", "y1", "area"]
    assert table[["track", "frame", "name", "x0", "y0", "x1", "y1", "area"]].values.tolist() == [
        [7, 0, "fox", 3, 2, 9, 6, 24],
        [7, 2, "fox", 0, 0, 30, 20, 600],
        [3, 2, "car", 5, 5, 6, 6, 1],
    ]
    assert table.groupby("track").score.first().round(4).to_dict() == {3: 0.6, 7: 0.8}
    assert tracks.to_pandas().name.tolist() == ["1", "1", "0"]
    assert VideoTracks([], 0, SIZE).to_pandas().shape == (0, 10)


def test_supervision_gets_frames_and_tracks(tracks):
    pytest.importorskip("supervision")
    found = tracks.to_supervision(2, ["car", "fox"])
    assert found.tracker_id.tolist() == [7, 3]
    assert found.class_id.tolist() == [1, 0]
    assert found.data["class_name"].tolist() == ["fox", "car"]
    assert found.xyxy.tolist() == [[0, 0, 30, 20], [5, 5, 6, 6]]
    assert found.mask.sum((1, 2)).tolist() == [600, 1]
    assert found.mask[1, 5, 5]
    assert len(tracks.to_supervision(1)) == 0
    with pytest.raises(InvalidInput, match="no frame 3"):
        tracks.to_supervision(3)
    boxes = np.array([[3, 2, 9, 6]], np.float32)
    frame = TrackedFrame(
        4, np.array([9]), np.array([1]), np.array([0.5], np.float32), boxes, [counts_of(2, 3, 6, 9)], SIZE
    )
    one = frame.to_supervision(["car", "fox"])
    assert (one.tracker_id.tolist(), one.confidence.tolist(), one.mask.shape) == ([9], [0.5], (1, *SIZE))
    with pytest.raises(InvalidInput, match="1 class names are given"):
        frame.to_supervision(["car"])
    none = TrackedFrame(0, *(np.zeros(0, int),) * 2, np.zeros(0), np.zeros((0, 4), np.float32), [], SIZE)
    assert len(none.to_supervision()) == 0


def test_fiftyone_gets_a_sample_with_frames_from_1(tracks, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pytest.importorskip("fiftyone")
    sample = tracks.to_fiftyone(tmp_path / "clip.mp4", ["car", "fox"])
    assert sorted(sample.frames) == [1, 3]
    (fox,) = sample.frames[1].detections.detections
    assert (fox.label, fox.index, fox.mask.shape) == ("fox", 7, (4, 6))
    assert fox.bounding_box == pytest.approx([3 / 30, 2 / 20, 6 / 30, 4 / 20])


def test_a_package_that_is_not_there_is_named_with_its_extra(tracks, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(Missing) as caught:
        tracks.to_pandas()
    assert caught.value.fix == "pip install 'idolctl[tables]'"
