"""Identities of every detection of every frame, under the four configurations."""

import numpy as np
import pytest
import torch

from idol_core.config import TrackerConfig
from idol_core.structures import Detections
from idol_core.tracking.tracker import Tracker
from tests.parity import kit

ARRAYS, FACTS = kit.arrays("tracker"), kit.document("tracker")
SEQUENCES = [sequence["index"] for sequence in FACTS["sequences"]]


def config_of(name):
    settings, fixed = FACTS["configs"][name], FACTS["fixed"]
    return TrackerConfig(
        mask_nms=settings["nms_pre"],
        new_threshold=settings["add_new"],
        frame_weighting=settings["fw"],
        temporal_weighting=settings["tw"],
        init_threshold=fixed["init_score_thr"],
        match_threshold=fixed["match_score_thr"],
        memory_length=fixed["memory_len"],
        max_missed=fixed["memo_tracklet_frames"],
    )


def frames_of(index):
    """The detections of each frame of a sequence."""
    stored = {name: torch.from_numpy(ARRAYS[f"s{index}_{name}"]) for name in ("scores", "labels", "embeds", "mask_q")}
    ends = np.cumsum(ARRAYS[f"s{index}_num_dets"])
    for begin, end in zip(ends - ARRAYS[f"s{index}_num_dets"], ends, strict=True):
        scores, labels, embeddings, masks = (stored[n][begin:end] for n in ("scores", "labels", "embeds", "mask_q"))
        nothing = torch.zeros(end - begin, 4)
        yield slice(begin, end), Detections(scores, labels, nothing, nothing, embeddings, masks.float() / 8)


@pytest.mark.parametrize("name", sorted(FACTS["configs"]))
@pytest.mark.parametrize("index", SEQUENCES)
def test_identities_are_the_originals(index, name):
    expected = ARRAYS[f"s{index}_ids_{name}"]
    tracker = Tracker(config_of(name))
    for t, (part, detections) in enumerate(frames_of(index)):
        assert tracker.step(detections).tolist() == expected[part].tolist(), f"frame {t}"


@pytest.mark.parametrize("index", SEQUENCES[:6])
def test_a_restored_tracker_goes_on_alike(index):
    for name in FACTS["configs"]:
        tracker = Tracker(config_of(name))
        expected = ARRAYS[f"s{index}_ids_{name}"]
        for part, detections in frames_of(index):
            state, tracker = tracker.state(), Tracker(config_of(name))
            tracker.restore(state)
            assert tracker.step(detections).tolist() == expected[part].tolist()
