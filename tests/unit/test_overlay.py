"""Drawing of tracks, and the video and contact sheet made of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from idol_core.data.annotations import rle
from idol_core.drawing.frame import Drawn, contour, draw_objects, track_color
from idol_core.drawing.tracks import draw_tracks, write_contact_sheet, write_overlay
from idol_core.video.files import read_video
from tests.unit.data_sets import disc, small_videos


def results_of(dataset, *, score=0.9):
    """Ground truth as results, with a second, less likely class for every track."""
    entries = []
    for row, video in enumerate(dataset.videos):
        for track in dataset.tracks(row):
            shapes = [s and rle.to_json(s) for s in track.segmentations]
            for category, worth in ((track.category, score), (1 - track.category, score / 2)):
                entry = {"video_id": video.id, "category_id": dataset.category_ids[category]}
                entries.append({**entry, "score": worth, "segmentations": shapes})
    return entries


def test_colors_are_stable_and_neighbours_differ():
    colors = [track_color(k) for k in range(40)]
    assert colors == [track_color(k) for k in range(40)]
    assert len(set(colors)) == 40
    assert all(np.abs(np.subtract(a, b)).max() > 60 for a, b in itertools.pairwise(colors))


def test_a_mask_is_tinted_and_outlined_in_its_color():
    frame = np.full((300, 400, 3), 100, np.uint8)
    mask = disc(300, 400, 200, 180, 60)
    drawn = draw_objects(frame, [Drawn(3, "cat 3", mask)])
    color = np.array(track_color(3))
    edge = contour(mask, 1)
    assert (drawn[edge] == color).all()
    inside = disc(300, 400, 200, 180, 50)
    assert np.allclose(drawn[inside], 100 + (color - 100) * 0.36, atol=1)
    below = np.zeros_like(mask)
    below[250:] = True
    assert (drawn[below & ~mask] == 100).all()
    assert (drawn[100:120, 130:200] == color).all(-1).sum() > 100, "no label"
    assert (frame == 100).all(), "the frame itself was changed"


def test_a_contour_is_all_around():
    mask = np.zeros((20, 20), bool)
    mask[4:12, 5:15] = True
    inside = np.zeros_like(mask)
    inside[6:10, 7:13] = True
    assert np.array_equal(contour(mask, 2), mask & ~inside)


def test_a_contour_does_not_run_along_the_border():
    mask = np.zeros((20, 20), bool)
    mask[:10, :10] = True
    edge = contour(mask, 2)
    assert edge[8:10, :10].all()
    assert edge[:10, 8:10].all()
    assert not edge[:8, :8].any()


def test_small_frames_are_enlarged_but_long_ones_not_beyond_bounds():
    for size, factor in (((96, 128), 3), ((720, 1280), 1), ((8, 2000), 2), ((8, 9000), 1)):
        (frame,) = draw_tracks([np.zeros((*size, 3), np.uint8)], [], size)
        assert frame.shape[:2] == (factor * size[0], factor * size[1])


def test_labels_stay_within_the_picture():
    frame = np.zeros((60, 80, 3), np.uint8)
    masks = np.zeros((4, 60, 80), bool)
    masks[0, :3, :3] = masks[1, :3, -3:] = masks[2, -3:, :3] = masks[3, -3:, -3:] = True
    for k, mask in enumerate(masks):
        assert draw_objects(frame, [Drawn(k, "butterfly 10", mask)], scale=2).shape == (120, 160, 3)
    assert draw_objects(frame, [Drawn(0, "gone", np.zeros((60, 80), bool))]).max() == 0


def test_the_overlay_shows_every_frame_of_the_chosen_videos(tmp_path):
    dataset = small_videos(tmp_path)
    seen = []
    write_overlay(
        tmp_path / "o.mp4", dataset, results_of(dataset), videos=[0, 2], threshold=0.3, on_frame=lambda: seen.append(1)
    )
    frames = list(read_video(tmp_path / "o.mp4"))
    assert len(frames) == len(seen) == 7
    bare = tmp_path / "bare.mp4"
    write_overlay(bare, dataset, results_of(dataset, score=0.2), videos=[0, 2], threshold=0.3)
    differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, read_video(bare), strict=True)]
    assert min(differences) > 3


def test_of_the_classes_of_a_track_only_the_best_is_drawn(tmp_path):
    dataset = small_videos(tmp_path)
    both, best = results_of(dataset), results_of(dataset)[::2]
    for name, results in (("both", both), ("best", best)):
        write_contact_sheet(tmp_path / f"{name}.png", dataset, results, videos=[0, 1, 2], threshold=0.3)
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "best.png").read_bytes()


def test_the_contact_sheet_has_a_row_for_each_clip(tmp_path):
    dataset = small_videos(tmp_path)
    heights = []
    for videos in ([0], [0, 1, 2]):
        write_contact_sheet(tmp_path / "sheet.png", dataset, results_of(dataset), videos=videos, threshold=0.3)
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] == 3 * heights[0]
    assert not list(tmp_path.glob(".sheet*"))


@pytest.mark.parametrize("entries", [0, 1])
def test_clips_without_tracks_can_be_shown(tmp_path, entries):
    dataset = small_videos(tmp_path)
    results = results_of(dataset)[:entries]
    write_contact_sheet(tmp_path / "sheet.png", dataset, results, videos=[0, 1], threshold=0.3)
    write_overlay(tmp_path / "o.mp4", dataset, results, videos=[1], threshold=0.3)
    assert len(list(read_video(tmp_path / "o.mp4"))) == 4
