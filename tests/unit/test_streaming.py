"""VideoSegmenter and data-set inference with a tiny network: one implementation, online and whole-video alike."""

import contextlib
import json
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from idol_core import VideoSegmenter
from idol_core.build import build_model
from idol_core.config import InputConfig, StageConfig, TrackerConfig, stage_to_dict
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.evaluation.video_ap import evaluate_vis
from idol_core.inference.datasets import infer_images, infer_videos, read_frames
from idol_core.inference.oracle import oracle_results
from idol_core.inference.shuffle import EmbeddingShuffle
from idol_core.tracking.records import track_record
from idol_core.weights import save_weights
from tests.unit.data_sets import small_images, small_videos
from tests.unit.tiny import tiny_config

INPUT = InputConfig(test_short_side=64, test_max_size=128)
TRACKER = TrackerConfig(batch_frames=4)


def network(seed=0, **changes):
    """Random weights that see something everywhere, without dropout or other chance."""
    torch.manual_seed(seed)
    model = build_model(tiny_config(num_classes=2, **changes))
    for head in model.decoder.class_heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.constant_(head.bias, -1.5)
    if model.embed_head is not None:  # embeddings that differ enough to be told apart
        last = list(model.embed_head.parameters())[-2]
        torch.nn.init.normal_(last, std=2.0)
    return model.eval()


def segmenter(**options):
    return VideoSegmenter(network(), tracker=TRACKER, input=INPUT, classes=("a", "b"), **options)


def clip(count=7, height=40, width=56, seed=0):
    """Noise that drifts: neighbouring frames look alike."""
    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [scene[t : t + height, 2 * t : 2 * t + width].copy() for t in range(count)]


def test_the_stream_and_the_whole_video_agree():
    frames = clip()
    seg = segmenter()
    shown = []
    whole = seg.segment(frames, on_frame=shown.append)
    live = list(seg.stream(iter(frames)))
    assert [f.frame for f in live] == [f.frame for f in shown] == list(range(len(frames)))
    assert max(len(track.masks) for track in whole.tracks) == len(frames)
    for one, other in zip(live, shown, strict=True):
        assert one.track_ids.tolist() == other.track_ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        assert one.masks.shape == (len(one.track_ids), 40, 56)
        assert (one.masks ^ other.masks).mean() < 1e-3
    for track in whole.tracks:
        assert track.masks == {f.frame: f.counts[f.track_ids.tolist().index(track.id)] for f in shown
                               if track.id in f.track_ids}  # fmt: skip


@pytest.mark.parametrize("beside", [False, True])
def test_a_stream_that_overlaps_gives_the_same_and_runs_ahead(beside):
    frames, taken = clip(9), []
    sixth = threading.Event()
    seg = segmenter()
    seg.select_beside = beside

    def source():
        for frame in frames:
            taken.append(frame)
            if len(taken) == 6:
                sixth.set()
            yield frame

    expected = list(seg.stream(frames, batch=2))
    ahead = []
    for one, other in zip(expected, seg.stream(source(), batch=2, overlap=True), strict=True):
        ahead.append(len(taken))
        assert one.track_ids.tolist() == other.track_ids.tolist()
        assert one.counts == other.counts
        assert one.scores.tolist() == other.scores.tolist()
        if len(ahead) == 2:  # as if there were much to draw
            assert sixth.wait(60), "the network waited for what came after it"
    assert all(n <= 2 * (t // 2) + 8 for t, n in enumerate(ahead)), "more than three batches were on their way"


def test_a_stream_that_is_left_early_leaves_no_thread():
    seg = segmenter()
    with contextlib.closing(seg.stream(clip(9), overlap=True)) as tracked:
        next(tracked)
    assert [thread.name for thread in threading.enumerate()].count("prefetch") == 0


def test_tensors_and_arrays_are_the_same_frames():
    frames = clip(3)
    seg = segmenter()
    for one, other in zip(seg.stream(frames), seg.stream([torch.from_numpy(f) for f in frames]), strict=True):
        assert one.counts == other.counts


def test_frames_that_are_views_of_others_or_can_not_be_written_to():
    """As OpenCV's BGR turned to RGB and channels-first tensors are, and Pillow's pictures."""
    frames = clip(2)
    seg = segmenter()
    expected = [f.counts for f in seg.stream(frames)]
    turned = [np.ascontiguousarray(f[..., ::-1])[..., ::-1] for f in frames]
    channels_first = [torch.from_numpy(f).permute(2, 0, 1).contiguous().permute(1, 2, 0) for f in frames]
    frozen = [np.frombuffer(f.tobytes(), np.uint8).reshape(f.shape) for f in frames]
    for given in (turned, channels_first, frozen):
        with warnings.catch_warnings(action="error"):
            assert [f.counts for f in seg.stream(given)] == expected


def test_a_stream_goes_on_from_a_saved_state():
    frames = clip()
    seg = segmenter()
    expected = seg.start(keep=True)
    shown = list(seg.stream(frames, video=expected))
    first = seg.start(keep=True)
    list(seg.stream(frames[:4], video=first))
    saved = first.state()
    list(seg.stream(clip(3, seed=1), video=first))  # what happens afterwards does not touch what was saved
    second = seg.start(keep=True)
    second.restore(saved)
    rest = list(seg.stream(frames[4:], video=second))
    for one, other in zip(rest, shown[4:], strict=True):
        assert one.frame == other.frame
        assert one.track_ids.tolist() == other.track_ids.tolist()
        assert one.counts == other.counts
        assert one.scores.tolist() == other.scores.tolist()
    assert [(t.id, t.masks) for t in second.tracks().tracks] == [(t.id, t.masks) for t in expected.tracks().tracks]


def test_streams_side_by_side_do_not_mix():
    videos = [clip(4, seed=0), clip(2, seed=1), clip(3, height=48, seed=2)]
    seg = segmenter()
    together = list(seg.stream_together(videos))
    assert [[f is not None for f in row] for row in together] == [[True] * 3, [True] * 3, [True, False, True],
                                                                  [True, False, False]]  # fmt: skip
    for i, frames in enumerate(videos):
        alone = list(seg.stream(frames))
        for row, expected in zip(together, alone, strict=False):
            assert row[i].track_ids.tolist() == expected.track_ids.tolist()


def test_streams_side_by_side_go_on_from_saved_states():
    sources = [clip(6, seed=0), clip(5, seed=1)]
    seg = segmenter()
    expected = list(seg.stream_together(sources))
    videos = [seg.start() for _ in sources]
    list(seg.stream_together([frames[:3] for frames in sources], videos=videos))
    restored = [seg.start() for _ in sources]
    for video, saved in zip(restored, videos, strict=True):
        video.restore(saved.state())
    rest = list(seg.stream_together([frames[3:] for frames in sources], videos=restored))
    assert [[f and (f.frame, f.track_ids.tolist(), f.counts) for f in row] for row in rest] == [
        [f and (f.frame, f.track_ids.tolist(), f.counts) for f in row] for row in expected[3:]
    ]


def test_no_frames_and_one_frame():
    seg = segmenter()
    assert list(seg.stream([])) == []
    assert seg.segment([]).tracks == []
    whole = seg.segment(clip(1))
    assert whole.frames == 1
    assert whole.tracks


def test_what_a_stream_keeps_does_not_grow_with_it():
    frames = clip(4) * 12
    seg = segmenter()
    video = seg.start()
    for tracked in seg.stream(frames, video=video, batch=8):
        assert len(video.state()["classes"]) == len(video.tracker.memory) <= 20 * (TRACKER.max_missed + 1)
        assert all(len(track.embeddings) <= TRACKER.memory_length for track in video.tracker.memory.tracks.values())
        assert tracked.size == (40, 56)
    assert video.state()["assembler"] is None


@pytest.mark.parametrize(
    "frame",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8),
     np.zeros((0, 8, 3), np.uint8)],
)  # fmt: skip
def test_frames_of_another_form_are_refused(frame):
    with pytest.raises(InvalidInput, match="a frame is"):
        list(segmenter().stream([frame]))


def test_a_change_of_resolution_is_refused():
    with pytest.raises(InvalidInput, match="frame 2 is 56x48, the frames before it 56x40"):
        segmenter().segment([*clip(2), *clip(1, height=48)])


def test_step_one_weights_cannot_track():
    with pytest.raises(InvalidInput, match="no embedding head"):
        VideoSegmenter(network(embedding=False), tracker=TRACKER, input=INPUT, classes=("a", "b"))


def test_weights_that_carry_their_recipe(tmp_path):
    model = network()
    config = StageConfig("toy", "tiny", 3, model=tiny_config(num_classes=2), tracker=TRACKER, input=INPUT)
    metadata = {"recipe": json.dumps(stage_to_dict(config)), "classes": '["a", "b"]'}
    save_weights(tmp_path / "w.safetensors", model.state_dict(), metadata)
    opened = VideoSegmenter.from_pretrained(tmp_path / "w.safetensors")
    assert (opened.tracker, opened.input, opened.classes) == (TRACKER, INPUT, ("a", "b"))
    expected = list(segmenter().stream(clip(2)))
    assert [f.counts for f in opened.stream(clip(2))] == [f.counts for f in expected]
    save_weights(tmp_path / "bare.safetensors", model.state_dict(), {})
    with pytest.raises(InvalidInput, match="recipe"):
        VideoSegmenter.from_pretrained(str(tmp_path / "bare.safetensors"))


def test_a_name_that_is_not_in_the_cache_names_the_fetch_command(tmp_path, monkeypatch):
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path))
    with pytest.raises(Missing) as caught:
        VideoSegmenter.from_pretrained("ovis-r50")
    assert caught.value.fix == "idolctl fetch ovis-r50"
    with pytest.raises(Missing, match="no weights file"):
        VideoSegmenter.from_pretrained(tmp_path / "gone.safetensors")


def test_results_of_a_video_set(tmp_path):
    dataset = small_videos(tmp_path)
    calls = []
    results = infer_videos(segmenter(), dataset, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert {entry["video_id"] for entry in results} == {1, 2, 3}
    assert {entry["category_id"] for entry in results} <= {4, 9}
    for entry in results:
        assert len(entry["segmentations"]) == {1: 6, 2: 4, 3: 1}[entry["video_id"]]
        assert entry["score"] > TRACKER.class_score
    json.dumps(results, allow_nan=False)
    assert 0 <= evaluate_vis(dataset.source, results).stats["AP"] <= 1
    assert infer_videos(segmenter(), dataset, on_progress=lambda *_: None, videos=[1]) == [
        entry for entry in results if entry["video_id"] == 2
    ]


def test_results_of_an_image_set(tmp_path):
    dataset = small_images(tmp_path, height=40, width=56)
    calls = []
    results = infer_images(network(embedding=False), dataset, input=INPUT,
                           on_progress=lambda done, total: calls.append((done, total)))  # fmt: skip
    assert calls[0] == (0, 6)
    assert calls[-1] == (6, 6)
    assert {entry["image_id"] for entry in results} == set(range(1, 7))
    for entry in results:
        x, y, w, h = entry["bbox"]
        assert min(x, y) >= 0
        assert x + w <= 56.001
        assert y + h <= 40.001
        assert entry["segmentation"]["size"] == [40, 56]


def test_inference_can_be_interrupted(tmp_path):
    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_videos(segmenter(), small_videos(tmp_path), on_progress=stop)


def test_missing_and_mismatched_frames_are_named(tmp_path):
    dataset = small_videos(tmp_path)
    frame = tmp_path / "frames" / "v2" / "3.jpg"
    Image.new("RGB", (30, 20)).save(frame)
    with pytest.raises(Integrity, match="20 x 30"):
        infer_videos(segmenter(), dataset, on_progress=lambda *_: None)
    frame.unlink()
    with pytest.raises(Missing) as caught:
        infer_videos(segmenter(), dataset, on_progress=lambda *_: None)
    assert caught.value.where.endswith("v2/3.jpg")


def test_recorded_detections_give_the_same_tracks():
    frames = clip()
    seg = segmenter()
    whole, again = seg.segment(frames), track_record(seg.record(frames), TRACKER)
    assert [(t.id, t.masks) for t in again.tracks] == [(t.id, t.masks) for t in whole.tracks]
    for one, other in zip(again.tracks, whole.tracks, strict=True):
        np.testing.assert_array_equal(one.probs, other.probs)


def test_oracle_results_of_a_set(tmp_path):
    dataset = small_videos(tmp_path)
    records = [
        (row, segmenter().record(read_frames(v.file_names, (v.height, v.width))))
        for row, v in enumerate(dataset.videos)
    ]
    results = oracle_results(records, dataset, segmenter().tracker, clip_length=2)
    assert results["normal"] == infer_videos(segmenter(), dataset, on_progress=lambda *_: None)
    assert set(results) == {"normal", "clip", "frame"}


def test_shuffled_embeddings_are_the_same_ones_in_another_order():
    frames = clip(3)
    (plain,), (shuffled,) = (
        segmenter(transform_detections=t).observe(frames[:1]) for t in (None, EmbeddingShuffle(seed=1))
    )
    before, after = plain.detections.embeddings, shuffled.detections.embeddings
    assert not torch.equal(before, after)
    assert torch.equal(before.sort(0).values, after.sort(0).values)
    assert torch.equal(plain.detections.mask_logits, shuffled.detections.mask_logits)
    once, twice = (
        [f.track_ids.tolist() for f in segmenter(transform_detections=EmbeddingShuffle(seed=1)).stream(frames)]
        for _ in range(2)
    )
    assert once == twice


def test_mixed_precision_gives_finite_tracks():
    for tracked in segmenter(precision="bf16").stream(clip(2)):
        assert len(tracked.track_ids)
        assert np.isfinite(tracked.scores).all()
        assert np.isfinite(tracked.boxes).all()
