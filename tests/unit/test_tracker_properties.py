"""What must hold of the tracker for any detections: none, one, hundreds, empty masks, huge or zero embeddings."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idol_core.config import TrackerConfig
from idol_core.structures import Detections
from idol_core.tracking.tracker import OVERLAPPING, REMOVED, UNASSIGNED, Tracker, bisoftmax, mask_overlaps, suppress

CONFIGS = [
    TrackerConfig(frame_weighting=fw, temporal_weighting=tw, new_threshold=new, mask_nms=iou)
    for fw, tw, new, iou in ((True, True, 0.2, 0.5), (True, False, 0.3, 0.3), (False, False, 0.2, 0.5))
]
CONFIGS.append(TrackerConfig(similarity_weighting=True))


@st.composite
def frames(draw, most=12):
    """A few frames of detections from a seed; sizes and kinds of trouble are drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    counts = draw(st.lists(st.integers(0, most), min_size=1, max_size=14))
    scale = draw(st.sampled_from([0.0, 1.0, 100.0]))
    density = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    return [detections(rng, n, scale=scale, density=density) for n in counts]


def detections(rng, n, *, scale=1.0, density=0.3, channels=8, side=6):
    scores = torch.from_numpy(np.sort(rng.random(n, np.float32))[::-1].copy())
    embeddings = torch.from_numpy((rng.normal(size=(n, channels)) * scale).astype(np.float32))
    masks = torch.from_numpy(np.where(rng.random((n, side, side)) < density, 1.0, -1.0).astype(np.float32))
    return Detections(scores, torch.zeros(n, dtype=torch.int64), scores[:, None], torch.zeros(n, 4), embeddings, masks)


@given(frames(), st.sampled_from(CONFIGS))
def test_invariants_of_every_frame(sequence, config):
    tracker = Tracker(config)
    known: set[int] = set()
    for found in sequence:
        empty_memory = not len(tracker.memory)
        ids = tracker.step(found)
        assert ids.shape == (len(found.scores),)
        tracked = [i for i in ids.tolist() if i >= 0]
        assert len(set(tracked)) == len(tracked)  # no track twice in a frame
        new = [i for i in tracked if i not in known]
        assert new == list(range(len(known), len(known) + len(new)))  # consecutive, in the detections' order
        starts = config.init_threshold if empty_memory else config.new_threshold
        assert all(found.scores[ids.tolist().index(i)] > starts for i in new)
        known |= set(new)
        overlaps = mask_overlaps(found.mask_logits)
        kept = np.flatnonzero(ids != REMOVED)
        assert (overlaps[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] <= np.float32(config.mask_nms)).all()
        for i in np.flatnonzero(ids == REMOVED):
            assert (overlaps[i, kept[kept < i]] > np.float32(config.mask_nms)).any()
        for i in np.flatnonzero((ids == UNASSIGNED) | (ids == OVERLAPPING)):
            assert (overlaps[i, kept[kept < i]] < 0.05).all() == (ids[i] == UNASSIGNED)
            assert not found.scores[i] > starts or (ids[i] >= 0)
        for track in tracker.memory.tracks.values():
            assert np.isfinite(track.representative).all()
            assert tracker.frame - 1 - track.last_seen < config.max_missed


@given(frames(), st.sampled_from(CONFIGS), st.lists(st.sampled_from([-1.0, 1.0]), min_size=8, max_size=8))
def test_flipping_the_sign_of_embedding_channels_changes_nothing(sequence, config, signs):
    """Only dot products count: an embedding space turned inside out gives the same identities."""
    one, other = Tracker(config), Tracker(config)
    for found in sequence:
        mirrored = found._replace(embeddings=found.embeddings * torch.tensor(signs))
        assert other.step(mirrored).tolist() == one.step(found).tolist()


@given(st.integers(1, 8), st.integers(2, 14), st.integers(0, 2**31), st.sampled_from(CONFIGS))
def test_objects_that_look_apart_keep_their_identity_in_any_order(objects, length, seed, config):
    rng = np.random.default_rng(seed)
    masks = torch.full((8, 8, 8), -1.0)
    masks[torch.arange(8), torch.arange(8)] = 1.0  # a row each: disjoint
    tracker, names = Tracker(config), {}
    for _ in range(length):
        order = torch.from_numpy(rng.permutation(objects))
        embeddings = torch.eye(8)[order] * 20
        n = len(order)
        ids = tracker.step(
            Detections(torch.full((n,), 0.9), order, torch.ones(n, 1), torch.zeros(n, 4), embeddings, masks[order])
        )
        for identity, item in zip(ids.tolist(), order.tolist(), strict=True):
            assert names.setdefault(item, identity) == identity
    assert sorted(names.values()) == list(range(objects))


def test_hundreds_of_detections():
    rng = np.random.default_rng(0)
    tracker = Tracker(TrackerConfig())
    for _ in range(3):
        ids = tracker.step(detections(rng, 400, density=0.02))
        assert (ids >= REMOVED).all()
    assert tracker.next_id > 0


@given(frames(most=5), st.sampled_from(CONFIGS))
def test_a_track_returns_after_nine_missed_frames_and_not_after_ten(sequence, config):
    found = next((f for f in sequence if len(f.scores) and f.scores[0] > 0.5), None)
    if found is None:
        return
    one = Detections(*(field[:1] for field in found))._replace(embeddings=torch.full((1, 8), 9.0))
    nothing = Detections(*(field[:0] for field in one))
    for missed, expected in ((9, 0), (10, 1)):
        tracker = Tracker(config)
        tracker.step(one)
        for _ in range(missed):
            assert len(tracker.step(nothing)) == 0
        assert tracker.step(one).tolist() == [expected]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (300, 5)])
def test_bisoftmax_is_a_mean_of_two_distributions(shape):
    products = np.random.default_rng(0).normal(scale=300, size=shape).astype(np.float32)
    similarity = bisoftmax(products)
    assert np.isfinite(similarity).all()
    assert similarity.dtype == np.float32
    assert ((similarity >= 0) & (similarity <= 1)).all()
    assert similarity.sum() == pytest.approx(sum(shape) / 2, rel=1e-4)


def test_two_empty_masks_count_as_the_same():
    overlaps = mask_overlaps(torch.full((2, 3, 3), -1.0))
    assert overlaps.tolist() == [[1, 1], [1, 1]]
    assert suppress(overlaps, 0.5).tolist() == [0]
    assert mask_overlaps(torch.zeros(0, 3, 3)).shape == (0, 0)
