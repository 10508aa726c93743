"""Detections that are kept: every value comes back, and tracking them gives what the network's own pass gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idol_core.build import build_model
from idol_core.config import InputConfig, TrackerConfig
from idol_core.inference.datasets import infer_videos
from idol_core.inference.kept_detections import load_record, save_record, video_records
from idol_core.inference.streaming import VideoSegmenter
from idol_core.tracking.records import track_record
from tests.unit.data_sets import small_videos
from tests.unit.tiny import tiny_config

# So low that untrained weights find something; classes on the edge would flip with the order of sums.
TRACKER = TrackerConfig(
    select_threshold=0.001, init_threshold=0.001, new_threshold=0.001, class_score=0.001, batch_frames=4
)


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(3)
    model = build_model(tiny_config(num_classes=2))
    return VideoSegmenter(model, tracker=TRACKER, input=InputConfig(test_short_side=64), classes=("a", "b"))


def test_kept_detections_give_the_same_results(segmenter, tmp_path):
    dataset = small_videos(tmp_path)
    expected = infer_videos(segmenter, dataset, on_progress=lambda *_: None)
    built = []

    def make():
        built.append(True)
        return segmenter

    for _ in range(2):
        progress = []
        records = video_records(make, dataset, tmp_path / "kept", on_progress=lambda *p, to=progress: to.append(p))
        results = []
        for row, record in records:
            tracks = track_record(record, TRACKER)
            results += tracks.results(dataset.videos[row].id, dataset.category_ids, TRACKER)
        assert results == expected
        assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert len(expected) > 3
    assert built == [True]


def test_kept_detections_are_not_used_after_a_frame_has_changed(segmenter, tmp_path):
    dataset = small_videos(tmp_path)
    said = []

    def scores():
        found = video_records(
            lambda: segmenter, dataset, tmp_path / "kept", on_progress=lambda *_: None, say=said.append
        )
        return [record.frames[0].scores.tolist() for _, record in found]

    before = scores()
    changed = Path(dataset.videos[1].file_names[0])
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*_size(changed), 3), np.uint8)).save(changed)
    after = scores()
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]
    assert sum("are not those that detections were kept of" in line for line in said) == 1
    for name in dataset.videos[1].file_names:  # without frames what is kept serves on
        Path(name).unlink()
    assert scores() == after


def _size(path):
    with Image.open(path) as image:
        return image.height, image.width


def test_every_value_comes_back(segmenter, tmp_path):
    frames = [np.random.default_rng(t).integers(0, 256, (40, 56, 3), dtype=np.uint8) for t in range(3)]
    record = segmenter.record(frames)
    path = tmp_path / "7.npz"
    save_record(path, record)
    loaded = load_record(path)
    assert loaded.size == record.size == (40, 56)
    for mine, theirs in zip(loaded.frames, record.frames, strict=True):
        assert mine.counts == theirs.counts
        for a, b in zip(mine[:4], theirs[:4], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_a_damaged_file_is_as_good_as_none(segmenter, tmp_path):
    path = tmp_path / "7.npz"
    assert load_record(path) is None
    save_record(path, segmenter.record([np.zeros((40, 56, 3), np.uint8)]))
    path.write_bytes(path.read_bytes()[:-100])
    assert load_record(path) is None
