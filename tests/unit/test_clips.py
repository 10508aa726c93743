"""Clips that are read more than once, and what published weights carry when they are fetched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from idol_core.config import stage_from_dict
from idol_core.data.image_files import in_order
from idol_core.errors import InvalidInput
from idol_core.video.clips import recorded_clip
from idol_core.video.files import TimedFrame, unheard
from idolctl.zoo.entries import load_zoo
from idolctl.zoo.metadata import class_names, metadata_of


def live(count, height=40, width=56):
    for t in range(count):
        frame = np.full((height, width, 3), 30, np.uint8)
        frame[10:24, 4 * t : 4 * t + 12] = (210, 40, 60)
        yield TimedFrame(frame, [0, 0.1, 0.2, 1.5, 3.0][t])


@pytest.mark.parametrize("width", [56, 57])
def test_a_camera_is_asked_once_and_read_twice(tmp_path, width):
    asked = []

    def frames():
        asked.append(1)
        return live(5, width=width)

    clip = recorded_clip(frames, name="camera-0", rate=15, recording=tmp_path / "r.mp4")
    first, second = list(clip.read(unheard)), list(clip.read(unheard))
    assert asked == [1]
    assert len(first) == len(second) == 5
    for a, b in zip(first, second, strict=True):
        assert a.pixels.shape == b.pixels.shape
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 6
        assert b.seconds == pytest.approx(a.seconds, abs=1e-4)  # though the camera promised 15 frames a second


def test_a_recording_that_is_broken_off_leaves_nothing(tmp_path):
    clip = recorded_clip(lambda: live(5), name="camera-0", rate=15, recording=tmp_path / "r.mp4")
    frames = clip.read(unheard)
    next(frames)
    frames.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInput):
        list(recorded_clip(lambda: live(0), name="camera-0", rate=15, recording=tmp_path / "r.mp4").read(unheard))


def test_frames_are_ordered_by_the_numbers_in_their_names():
    names = ["f10.png", "f2.png", "f1.png", "g.png", "7.png"]
    assert [path.name for path in in_order(map(Path, names))] == ["7.png", "f1.png", "f2.png", "f10.png", "g.png"]


def test_every_published_checkpoint_carries_its_recipe_and_classes():
    for entry in load_zoo().weights:
        if entry.kind == "imagenet" or not entry.sources:
            continue
        sizes = stage_from_dict(json.loads(metadata_of(entry, _model(entry))["recipe"]))
        classes = json.loads(metadata_of(entry, _model(entry))["classes"])
        assert len(classes) == sizes.model.num_classes == len(set(classes))
        assert all(name == " ".join(name.split()) for name in classes)
        if entry.name == "ovis-r50":
            assert sizes.tracker.mask_nms == 0.3
            assert sizes.input.test_short_side == 720
            assert classes[0] == "Person"
            assert len(classes) == 25


def test_an_unusual_class_count_gives_a_warning(capsys):
    import dataclasses

    entry = load_zoo().find("ovis-r50")
    carried = metadata_of(entry, dataclasses.replace(_model(entry), num_classes=7))
    assert "classes" not in carried
    assert "7 classes" in capsys.readouterr().err


def _model(entry):
    from idolctl.config.library import load_recipe
    from idolctl.config.resolve import resolve

    step = 3 if entry.dataset else 2
    (stage,) = resolve(load_recipe(entry.dataset or "ytvis19"), steps=(step,), backbone=entry.backbone)
    assert len(class_names(entry.dataset or "coco")) == stage.config.model.num_classes
    return stage.config.model
