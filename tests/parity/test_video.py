"""Whole videos from recorded network outputs: selection, association, assembly and masks."""

import itertools

import numpy as np
import pytest
import torch

from idol_core.config import InputConfig, TrackerConfig
from idol_core.inference.select import select_detections
from idol_core.inference.streaming import VideoSegmenter
from idol_core.structures import Decoded
from idol_core.tracking.online import Observation, OnlineVideo
from tests.parity import kit
from tests.parity.tolerances import CLASS_SCORE

FACTS = kit.document("video")
ARRAYS = dict(enumerate(kit.cases(kit.arrays("video"))))
CASES = [(case["index"], setting) for case in FACTS["cases"] for setting in case["results"]]

UNEVEN = 2  # 57x96 of 41x70: no resize that keeps the aspect gives this


class Recording:
    """Stands where the network stands, and says of a video's frames what was recorded."""

    def __init__(self, arrays):
        self.embeddings = torch.from_numpy(arrays["pred_inst_embed"])
        self.masks = torch.from_numpy(arrays["pred_masks_q"]).float() / 8
        self.logits = torch.from_numpy(arrays["pred_logits"])
        self.boxes = torch.from_numpy(arrays["pred_boxes"])

    def frames(self, part, size):
        count = len(self.logits[part])
        none = torch.zeros(1, count, 0)
        sizes = torch.tensor([size] * count)
        return Decoded(self.embeddings[None, part], self.logits[None, part], self.boxes[None, part], none,
                       torch.arange(len(self.logits))[part], (), sizes)  # fmt: skip

    def mask_features(self, decoded):
        return decoded.memory

    def mask_logits(self, decoded, features, layer, row, query):
        assert (layer == len(decoded.logits) - 1).all()
        return self.masks[features[row], query]

    def embed(self, queries):
        return queries


class RecordedNetwork(Recording):
    """A recording that is asked as the network is: for the next frames of the video."""

    embed_head = True

    def __init__(self, arrays):
        super().__init__(arrays)
        self.done = 0

    def to(self, device):
        return self

    def eval(self):
        return self

    def modules(self):
        return ()

    def requires_grad_(self, wanted):
        return self

    def __call__(self, batch):
        begin, self.done = self.done, self.done + len(batch.images)
        (size,) = set(map(tuple, batch.sizes.tolist()))
        return self.frames(slice(begin, self.done), size)


def case_of(index):
    return next(case for case in FACTS["cases"] if case["index"] == index)


def config_of(case, setting):
    tracker = FACTS["tracker_configs"][case["tracker_config"]]
    chosen = dict(part.split("=") for part in setting.split(","))
    return TrackerConfig(
        select_threshold=case["inference_select_thres"],
        class_score=case["apply_cls_thres"],
        mask_nms=tracker["nms_pre"],
        new_threshold=tracker["add_new"],
        frame_weighting=tracker["fw"],
        temporal_weighting=tracker["tw"],
        multi_class=chosen["multi_cls"] == "true",
        score=chosen["score"],
    )


def observations(case, config, batch):
    recording = Recording(ARRAYS[case["index"]])
    size, original = tuple(case["image_size"]), tuple(case["original_size"])
    for begin in range(0, case["frames"], batch):
        decoded = recording.frames(slice(begin, begin + batch), size)
        for detections in select_detections(recording, decoded, config):
            yield Observation(detections, size, original)


def check(tracks, case, setting, config):
    expected = case["results"][setting]
    order = {track.id: place for place, track in enumerate(tracks.tracks)}
    found = tracks.scored(config)
    assert [(label, order[track.id]) for track, label, _ in found] == [(label, place) for _, label, place in expected]
    scores = torch.tensor([score for *_, score in found], dtype=torch.float64)
    CLASS_SCORE.check(scores, np.array([score for score, *_ in expected]))
    assert [tracks.segmentations(track) for track in tracks.tracks] == case["tracks"]


@pytest.mark.parametrize("batch", [1, 10])
@pytest.mark.parametrize(("index", "setting"), CASES)
def test_tracks_scores_and_masks_are_the_originals(index, setting, batch):
    case = case_of(index)
    config = config_of(case, setting)
    video = OnlineVideo(config, keep=True)
    for seen in observations(case, config, batch):
        video.step(seen)
    check(video.tracks(), case, setting, config)


@pytest.mark.parametrize(("index", "setting"), [(i, setting) for i, setting in CASES if i != UNEVEN])
def test_segmenting_a_video_gives_the_originals_tracks(index, setting):
    case = case_of(index)
    config, size = config_of(case, setting), tuple(case["image_size"])
    network = RecordedNetwork(ARRAYS[index])
    segmenter = VideoSegmenter(
        network,
        tracker=config,
        input=InputConfig(test_short_side=min(size), test_max_size=max(size)),
        classes=[str(i) for i in range(case["classes"])],
    )
    frames = np.zeros((case["frames"], *case["original_size"], 3), np.uint8)
    check(segmenter.segment(iter(frames)), case, setting, config)
    assert segmenter.model.done == case["frames"]


@pytest.mark.parametrize("index", [case["index"] for case in FACTS["cases"]])
def test_a_stream_can_be_saved_and_restored_after_any_frame(index):
    case = case_of(index)
    setting = next(iter(case["results"]))
    config = config_of(case, setting)
    video = OnlineVideo(config, keep=True)
    for seen in observations(case, config, batch=1):
        state, video = video.state(), OnlineVideo(config, keep=True)
        video.restore(state)
        video.step(seen)
    check(video.tracks(), case, setting, config)


@pytest.mark.parametrize("index", [case["index"] for case in FACTS["cases"]])
def test_the_stream_shows_the_masks_that_the_whole_video_has(index):
    case = case_of(index)
    setting = next(iter(case["results"]))
    config = config_of(case, setting)
    live, kept = OnlineVideo(config, keep=False), OnlineVideo(config, keep=True)
    seen = list(observations(case, config, batch=10))
    shown = [live.step(one) for one in seen]
    for one in seen:
        kept.step(one)
    for track in kept.tracks().tracks:
        for t, counts in track.masks.items():
            place = shown[t].track_ids.tolist().index(track.id)
            assert shown[t].counts[place] == counts
            assert shown[t].masks[place].shape == tuple(case["original_size"])
    ids = list(itertools.chain.from_iterable(frame.track_ids.tolist() for frame in shown))
    assert set(ids) >= {track.id for track in kept.tracks().tracks}
