"""Oracle experiments on videos worked out by hand: two objects, and a tracker that is led astray."""

import numpy as np
import pytest

from idol_core.config import TrackerConfig
from idol_core.evaluation.video_ap import evaluate_vis
from idol_core.inference.oracle import assign, clip_oracle, frame_oracle
from idol_core.tracking.records import FrameRecord, VideoRecord, track_record
from tests.unit.vis_sets import HEIGHT, WIDTH, box, truth

CONFIG = TrackerConfig()
LEFT, RIGHT, BELOW = (box(x, y, 8, 8) for x, y in ((2, 2), (20, 2), (10, 14)))
FRAMES = 8


def counts_of(rle):
    return rle["counts"].encode()


def frame(*found):
    """A frame of detections (mask, embedding direction, score), disjoint and all of class 0."""
    n = len(found)
    scores = np.array([score for *_, score in found], np.float32)
    embeddings = np.eye(4, dtype=np.float32)[[direction for _, direction, _ in found]] * 10
    probs = np.stack([scores, np.zeros(n)], 1).astype(np.float32)
    return FrameRecord(scores, probs, embeddings, np.eye(n, dtype=np.float32), [counts_of(m) for m, *_ in found])


def video(swap_at):
    """Two objects whose embeddings change places at frame `swap_at`."""
    frames = []
    for t in range(FRAMES):
        first, second = (0, 1) if t < swap_at else (1, 0)
        frames.append(frame((LEFT, first, 0.9), (RIGHT, second, 0.8)))
    return VideoRecord(frames, (HEIGHT, WIDTH))


TRUTHS = [[counts_of(LEFT)] * FRAMES, [counts_of(RIGHT)] * FRAMES]


def ap(tracks):
    content = truth([(1, 4, [m] * FRAMES, {}) for m in (LEFT, RIGHT)], videos=((1, FRAMES),))
    return evaluate_vis(content, tracks.results(1, [4, 9], CONFIG)).stats["AP"]


def test_swapped_identities_cost_what_the_oracles_give_back():
    swapped = video(FRAMES // 2)
    normal = ap(track_record(swapped, CONFIG))
    halves = ap(clip_oracle(swapped, TRUTHS, CONFIG, clip_length=FRAMES // 2))
    third = ap(clip_oracle(swapped, TRUTHS, CONFIG, clip_length=3))  # the swap lies within the second clip
    assert normal == 0  # half of each track is the other object: IoU 1/3
    assert halves == pytest.approx(1)  # no swap within a clip
    assert 0 < third < 1
    assert ap(frame_oracle(swapped, TRUTHS, CONFIG)) == pytest.approx(1)


def test_without_errors_the_oracles_change_nothing():
    plain = video(FRAMES)
    normal = track_record(plain, CONFIG)
    clips = clip_oracle(plain, TRUTHS, CONFIG, clip_length=3)
    masks = [
        [track.masks for track in tracks.tracks] for tracks in (normal, clips, frame_oracle(plain, TRUTHS, CONFIG))
    ]
    assert masks[0] == masks[1] == masks[2]


def test_tracks_that_match_no_object_are_dropped():
    frames = [frame((BELOW, 2, 0.95), (LEFT, 0, 0.9)) for _ in range(FRAMES)]
    record = VideoRecord(frames, (HEIGHT, WIDTH))
    assert len(track_record(record, CONFIG).tracks) == 2
    for tracks in (frame_oracle(record, TRUTHS, CONFIG), clip_oracle(record, TRUTHS, CONFIG, clip_length=4)):
        assert [list(track.masks.values()) for track in tracks.tracks] == [[counts_of(LEFT)] * FRAMES]


def test_each_clip_begins_with_an_empty_memory():
    """A weak newcomer starts a track in an empty memory only."""
    config = TrackerConfig(init_threshold=0.2, new_threshold=0.5)
    record = VideoRecord([frame((LEFT, 0, 0.9)), frame((LEFT, 0, 0.9), (RIGHT, 1, 0.3))], (HEIGHT, WIDTH))
    truths = [track[:2] for track in TRUTHS]
    assert [t.id for t in clip_oracle(record, truths, config, clip_length=2).tracks] == [0]
    assert [t.id for t in clip_oracle(record, truths, config, clip_length=1).tracks] == [0, 1]


def test_objects_may_be_absent_and_frames_empty():
    truths = [[None] * FRAMES, [counts_of(RIGHT)] + [None] * (FRAMES - 1)]
    empty = FrameRecord(*(np.zeros((0, *s), np.float32) for s in ((), (2,), (4,), (0,))), [])
    record = VideoRecord([*video(9).frames[:2], *[empty] * (FRAMES - 2)], (HEIGHT, WIDTH))
    for tracks in (frame_oracle(record, truths, CONFIG), clip_oracle(record, truths, CONFIG, clip_length=2)):
        assert [t.id for t in tracks.tracks] == [1]
    assert frame_oracle(record, [], CONFIG).tracks == []


def test_best_pairs_are_matched_first():
    ious = np.array([[0.9, 0.8], [0.85, 0.2], [0.1, 0.1]])
    assert assign(ious).tolist() == [0, -1, -1]
    assert assign(np.array([[0.7, 0.8], [0.6, 0.75]])).tolist() == [1, 0]
    assert assign(np.zeros((2, 0))).tolist() == [-1, -1]
