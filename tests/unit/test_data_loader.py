"""Batches of the training loader: contents, padding, and that they depend on seed and place only."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from PIL import Image
from torch import Tensor

from idol_core.classes import choose_classes
from idol_core.config import CropConfig, DataConfig, DataSource, InputConfig, MixConfig, SolverConfig, StageConfig
from idol_core.data.collate import Sample, collate_images, pad_batch
from idol_core.data.frames import read_frame
from idol_core.data.images import as_images, with_classes
from idol_core.data.loader import item_names, make_loader
from idol_core.data.pairs import draw_clip_frames, draw_frames
from idol_core.data.sampler import EpochOrder, units
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.ops.pixels import normalized
from idol_core.structures import Batch
from tests.unit.data_sets import CATEGORIES, small_images, small_videos, write_set

INPUT = InputConfig(
    short_sides=(40, 48, 56, 64), max_size=80, crop=CropConfig(size=(24, 40), resize=(40, 48)), frame_range=3
)


def stage(step: int, **solver) -> StageConfig:
    values = {"iterations": 6, "batch_size": 4, "normalize": "global", **solver}
    return StageConfig("test", "tiny", step, input=INPUT, solver=SolverConfig(**values))


def tensors(batch: Batch) -> list[Tensor]:
    return [*batch.frames[:3], *batch.key, *(batch.ref or ())]


def plain(batch: Batch) -> tuple:
    return batch.sample_ids, batch.frames.known_sizes, batch.in_both


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        plain(a) == plain(b) and all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
        for a, b in zip(first, second, strict=True)
    )


def clips(config: StageConfig, frames: int) -> StageConfig:
    """The same stage on clips of several frames."""
    loss = dataclasses.replace(config.loss, association="memory")
    return dataclasses.replace(config, loss=loss, input=dataclasses.replace(config.input, clip_frames=frames))


def mixed(config: StageConfig, share: float) -> StageConfig:
    """The same stage with images mixed in."""
    source = DataSource(kind="coco", frames="given", annotations="given")
    mix = MixConfig(share, source, crop=CropConfig(probability=1.0, size=(16, 16), resize=(40, 48)))
    return dataclasses.replace(config, data=DataConfig(mix=mix))


@pytest.mark.parametrize(("step", "frames"), [(1, 2), (2, 2), (3, 2), (2, 3), (3, 5)])
def test_workers_and_resume_give_identical_batches(tmp_path, step, frames):
    config, dataset = stage(step), small_videos(tmp_path)
    config = config if frames == 2 else clips(config, frames)
    whole = list(make_loader(config, dataset, workers=0))
    assert len(whole) == 6
    assert all(same(a, b) for a, b in zip(whole, make_loader(config, dataset, workers=2), strict=True))
    resumed = list(make_loader(config, dataset, start_iteration=4, workers=2))
    assert all(same(a, b) for a, b in zip(whole[4:], resumed, strict=True))


@pytest.mark.parametrize("frames", [2, 3])
def test_mixed_images_are_spread_evenly_and_resume_where_they_were(tmp_path, frames):
    videos = small_videos(tmp_path / "videos")
    images = small_images(tmp_path / "images", height=48, width=64)
    config = mixed(stage(3) if frames == 2 else clips(stage(3), frames), share=0.4)
    whole = list(make_loader(config, videos, images, workers=0))
    of_images = [name.endswith(".png") for (batch,) in whole for name in batch.sample_ids]
    assert [sum(of_images[: n + 1]) for n in range(24)] == [int((n + 1) * 0.4) for n in range(24)]
    used = [name for (batch,) in whole for name in batch.sample_ids if name.endswith(".png")]
    assert sorted({name.split()[0] for name in used[:4]}) == ["1.png", "2.png", "3.png", "4.png"]  # no empty image
    square = [h == w for (batch,) in whole for h, w in batch.frames.known_sizes]
    assert all(all(square[i * frames : (i + 1) * frames]) for i in range(24) if of_images[i])  # by their own crop
    alone = [name[:2] for (batch,) in make_loader(stage(3), videos, workers=0) for name in batch.sample_ids]
    in_mix = [name[:2] for (batch,) in whole for name in batch.sample_ids if not name.endswith(".png")]
    assert in_mix == alone[: len(in_mix)]  # videos come in the order that they have alone
    assert [item_names(config, videos, images, i) for i in range(6)] == [
        [name.split()[0] if name.endswith(".png") else name.split("/")[0] + "/0.jpg" for name in batch.sample_ids]
        for (batch,) in whole
    ]
    resumed = list(make_loader(config, videos, images, start_iteration=4, workers=2))
    assert all(same(a, b) for a, b in zip(whole[4:], resumed, strict=True))
    shares = [list(make_loader(config, videos, images, rank=rank, world=2, workers=0)) for rank in (0, 1)]
    names = [batch.sample_ids for (batch,) in whole]
    assert names == [a.sample_ids + b.sample_ids for (a,), (b,) in zip(*shares, strict=True)]


def test_objects_of_other_classes_are_left_out_of_mixed_images(tmp_path):
    videos, images = small_videos(tmp_path / "videos"), as_images(small_videos(tmp_path / "more"))
    other = images.reordered([1, 0])  # the index of a class says nothing: its name does
    places = choose_classes(other.category_names, videos.category_names, chosen={"second": "first"}, where="here")
    assert places == {other.category_names.index("second"): videos.category_names.index("first")}
    kept = with_classes(other, videos, places)
    assert (kept.category_names, kept.category_ids) == (videos.category_names, videos.category_ids)
    found = [
        (row, track.category, track.segmentations) for row in range(len(kept.videos)) for track in kept.tracks(row)
    ]
    second = other.category_names.index("second")
    assert found == [
        (row, videos.category_names.index("first"), track.segmentations)
        for row in range(len(other.videos))
        for track in other.tracks(row)
        if track.category == second
    ]
    assert len(found) == 3 + 2 + 1  # visible in even frames
    with pytest.raises(InvalidInput, match="no class of the mixed images is called 'third'"):
        choose_classes(other.category_names, videos.category_names, chosen={"third": "first"}, where="here")
    with pytest.raises(InvalidInput, match=r"several classes of the mixed images have the same name.*'first'"):
        choose_classes(["first", "first "], videos.category_names, chosen={}, where="here")
    with pytest.raises(InvalidInput, match="have no class of the training set"):
        choose_classes(["cat"], videos.category_names, chosen={}, where="here")


def test_another_seed_gives_other_batches(tmp_path):
    dataset = small_videos(tmp_path)
    first, other = (next(make_loader(stage(3, seed=seed), dataset, workers=0)) for seed in (0, 1))
    assert not same(first, other)


def test_loading_leaves_global_random_state_alone(tmp_path):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    list(make_loader(stage(3), small_videos(tmp_path), workers=1))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("world", [2, 4])
def test_micro_batches_do_not_depend_on_the_number_of_processes(tmp_path, world):
    config, dataset = stage(3, normalize="micro", micro_batches=4), small_videos(tmp_path)
    alone = list(make_loader(config, dataset, workers=0))
    ranks = [list(make_loader(config, dataset, rank=rank, world=world, workers=0)) for rank in range(world)]
    for iteration, batches in enumerate(alone):
        assert len(batches) == 4
        assert same(batches, [batch for rank in ranks for batch in rank[iteration]])


def test_global_items_are_shared_out_in_order(tmp_path):
    config, dataset = stage(3), small_videos(tmp_path)
    alone = next(make_loader(config, dataset, workers=0))[0].sample_ids
    parts = [next(make_loader(config, dataset, rank=rank, world=2, workers=0))[0].sample_ids for rank in (0, 1)]
    assert alone == parts[0] + parts[1]


def test_indivisible_batches_are_refused(tmp_path):
    dataset = small_videos(tmp_path)
    with pytest.raises(InvalidInput, match="can't be divided into 3 equal parts"):
        make_loader(stage(3, normalize="micro", micro_batches=3), dataset, workers=0)
    with pytest.raises(InvalidInput, match="2 micro-batches can't be divided evenly among 4 processes"):
        make_loader(stage(3, normalize="micro", micro_batches=2), dataset, world=4, workers=0)


def test_every_epoch_visits_each_item_once():
    order = EpochOrder(np.zeros(7, bool), seed=3)
    epochs = [[order[7 * epoch + i] for i in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert EpochOrder(np.zeros(7, bool), seed=3)[20] == order[20]


@pytest.mark.parametrize("count", [40, 41, 43])
def test_micro_batches_hold_one_orientation(count):
    upright = default_rng(0).random(count) < 0.3
    order = EpochOrder(upright, seed=1, group=4)
    stream = np.array([order[i] for i in range(4 * count)])
    for epoch in stream.reshape(4, count):
        assert sorted(epoch) == list(range(count))
    mixed = sum(len(set(upright[group])) > 1 for group in stream.reshape(-1, 4).tolist())
    assert mixed <= 3 * 4, "only where epochs meet"
    assert mixed < sum(len(set(upright[default_rng(k).permutation(count)[:4]])) > 1 for k in range(count))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_batches_keep_their_contract(tmp_path, step):
    for (batch,) in make_loader(stage(step, iterations=4), small_videos(tmp_path), workers=0):
        frames, key, ref = batch.frames, batch.key, batch.ref
        count, _, height, width = frames.images.shape
        assert count == (4 if step == 1 else 8)
        assert height % 32 == 0
        assert width % 32 == 0
        for row, (h, w) in enumerate(frames.sizes.tolist()):
            assert not frames.padding[row, :h, :w].any()
            assert frames.padding[row, h:].all()
            assert frames.padding[row, :, w:].all()
            assert not frames.images[row][:, frames.padding[row]].any()
        assert (ref is None) == (step == 1)
        assert key.valid.sum(1).max() <= 2, "a crowd became a target"
        keys = frames.sizes[:: 1 if ref is None else 2]
        for targets, sizes in ((key, keys),) if ref is None else ((key, keys), (ref, frames.sizes[1::2])):
            assert targets.masks.shape[-2:] == (height // 4, width // 4)
            assert not targets.masks[~targets.valid].any()
            assert not targets.boxes[~targets.valid].any()
            check_boxes_hold_masks(targets, sizes)
        if ref is not None:
            assert not (ref.valid & ~key.valid).any()
            both = ref.valid & key.valid
            assert torch.equal(ref.labels[both], key.labels[both])


def check_boxes_hold_masks(targets, sizes):
    """Every sampled mask pixel (at 4 i + 2) lies in its instance's box."""
    for row, n in targets.valid.nonzero().tolist():
        ys, xs = targets.masks[row, n].nonzero().unbind(1)
        h, w = sizes[row].tolist()
        cx, cy, bw, bh = (targets.boxes[row, n] * torch.tensor([w, h, w, h])).tolist()
        assert ((4 * xs + 2.5 - cx).abs() <= bw / 2).all()
        assert ((4 * ys + 2.5 - cy).abs() <= bh / 2).all()


def test_pixels_are_normalized(tmp_path):
    config = dataclasses.replace(
        stage(1, batch_size=1),
        input=dataclasses.replace(INPUT, short_sides=(48,), flip=0.0, crop=CropConfig(probability=0.0)),
    )
    dataset = small_images(tmp_path, height=48, width=64)
    (batch,) = next(make_loader(config, dataset, workers=0))
    frame = np.array(Image.open(dataset.frames / batch.sample_ids[0]))
    expected = (frame - np.array(INPUT.pixel_mean)) / np.array(INPUT.pixel_std)
    assert torch.allclose(
        normalized(batch.frames).images[0, :, :48, :64].permute(1, 2, 0).double(), torch.from_numpy(expected), atol=1e-5
    )
    assert batch.frames.images.dtype == torch.uint8  # as they are sent to a device


def test_padding_is_zero_after_normalization():
    images = [torch.full((3, height, width), 7, dtype=torch.uint8) for height, width in ((40, 64), (64, 33))]
    nothing = torch.zeros(0)
    samples = [Sample(image, nothing, nothing.view(0, 4), nothing.view(0, 1, 1), nothing.bool()) for image in images]
    frames = normalized(pad_batch(collate_images(samples, config=INPUT), 96, 64).frames)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (INPUT.pixel_mean, INPUT.pixel_std))
    expected = torch.zeros(2, 3, 96, 64)
    expected[0, :, :40, :64] = expected[1, :, :64, :33] = (torch.tensor(7.0) - mean) / deviation
    assert torch.equal(frames.images, expected)
    assert normalized(frames) is frames


def test_frames_of_a_pair_are_near_different_and_in_order():
    rng = default_rng(0)
    drawn = {draw_frames(rng, 8, 3) for _ in range(2000)}
    assert drawn == {(a, b) for a in range(8) for b in range(a + 1, 8) if b - a <= 3}
    assert draw_frames(rng, 1, 3) == (0, 0)


def test_crowds_and_empty_images_are_no_units(tmp_path):
    dataset = small_images(tmp_path, height=48, width=64)
    everything, usable = (units(dataset, 1, skip_empty=skip) for skip in (False, True))
    assert len(everything) == 6
    assert len(usable) == 4


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not tell who sends a signal")
def test_a_signal_to_the_whole_job_leaves_the_loader_at_work(tmp_path):
    """Slurm and torchrun send SIGTERM to every process there is; batches are needed until the checkpoint. A loader
    process ends by its parent's SIGTERM alone."""
    config, dataset = stage(3), small_videos(tmp_path)
    batches = make_loader(config, dataset, workers=2)
    next(batches)
    loaders = multiprocessing.active_children()
    assert len(loaders) == 2
    for _ in range(2):
        subprocess.run(["kill", "-TERM", *(str(loader.pid) for loader in loaders)], check=True)
        time.sleep(0.2)
    assert len(list(batches)) == 5
    rest = make_loader(config, dataset, workers=1)
    next(rest)
    (loader,) = multiprocessing.active_children()
    loader.terminate()
    loader.join(10)
    assert loader.exitcode == 0


def test_data_config_gives_the_workers(tmp_path):
    config = dataclasses.replace(stage(3, iterations=1), data=DataConfig(workers=1))
    assert len(list(make_loader(config, small_videos(tmp_path)))) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_frame_is_named_across_processes(tmp_path, workers):
    dataset = small_videos(tmp_path)
    for frame in (tmp_path / "frames").glob("*/*.jpg"):
        frame.unlink()
    with pytest.raises(Missing) as caught:
        next(make_loader(stage(3), dataset, workers=workers))
    assert caught.value.where.endswith(".jpg")
    assert caught.value.fix


@pytest.mark.parametrize("step", [1, 3])
def test_frames_that_do_not_fit_their_annotations_are_named(tmp_path, step):
    dataset = small_videos(tmp_path)
    for frame in (tmp_path / "frames").glob("*/*.jpg"):
        Image.new("RGB", (40, 30)).save(frame)
    with pytest.raises(Integrity, match="frame is 30 x 40, its annotation says 48 x 64"):
        next(make_loader(stage(step), dataset, workers=0))


def test_frames_cut_short_are_named(tmp_path):
    dataset = small_videos(tmp_path)
    for frame in (tmp_path / "frames").glob("*/*.jpg"):
        frame.write_bytes(frame.read_bytes()[:600])
    with pytest.raises(Integrity, match="cannot be decoded"):
        next(make_loader(stage(3), dataset, workers=0))


def test_masks_that_do_not_fit_their_frame_are_named(tmp_path):
    shapes = [{"counts": "abc", "size": [48, 64]}]
    video = {"id": 1, "file_names": ["v1/0.jpg"], "height": 48, "width": 64, "length": 1}
    track = {"id": 1, "video_id": 1, "category_id": 4, "segmentations": shapes}
    small_videos(tmp_path)
    with pytest.raises(Integrity, match="not a compressed RLE") as caught:
        write_set(tmp_path, "vis", videos=[video], annotations=[track], categories=CATEGORIES)
    assert caught.value.where.endswith("annotations, id 1")


def test_a_set_without_instances_cannot_be_trained_on(tmp_path):
    small_videos(tmp_path)
    video = {"id": 1, "file_names": ["v1/0.jpg"], "height": 48, "width": 64, "length": 1}
    dataset = write_set(tmp_path, "vis", videos=[video], annotations=None, categories=CATEGORIES)
    with pytest.raises(Integrity, match="no instances"):
        make_loader(stage(3), dataset, workers=0)


def test_kinds_of_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_frame(tmp_path / "a.png"), pixels)
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        name = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.fromarray(pixels).convert(mode).save(name)
        assert read_frame(name).shape == (6, 8, 3)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "b.png", exif=turned)
    assert np.array_equal(read_frame(tmp_path / "b.png"), np.rot90(pixels, -1))
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(Integrity, match="cannot be decoded"):
        read_frame(tmp_path / "text.jpg")


@pytest.mark.parametrize("step", [2, 3])
def test_clips_hold_the_same_objects_in_every_frame_and_supervise_all(tmp_path, step):
    config, dataset = clips(stage(step), 3), small_videos(tmp_path)
    (batch,) = next(iter(make_loader(config, dataset, workers=0)))
    assert batch.ref is None
    assert batch.clip_frames == 3
    assert len(batch.frames.images) == len(batch.key.valid) == 3 * len(batch.sample_ids)
    valid = batch.key.valid.unflatten(0, (-1, 3))
    labels = batch.key.labels.unflatten(0, (-1, 3))
    for clip, present in zip(labels, valid, strict=True):
        for row in range(present.shape[1]):
            assert len(set(clip[present[:, row], row].tolist())) <= 1
    assert batch.objects_recur() == bool((valid.sum(1) > 1).any())
    numbers = [[int(Path(name).stem) for name in sample.split()] for sample in batch.sample_ids]
    assert all(found == sorted(found) for found in numbers)
    if step == 3:
        assert all(len(found) == 3 for found in numbers)


def test_frames_of_a_clip_come_twice_only_where_the_video_is_too_short():
    for length in (1, 2, 3, 9, 40):
        for seed in range(30):
            found = draw_clip_frames(default_rng(seed), length, 4, 3)
            assert found == sorted(found)
            assert len(set(found)) == min(3, length)
            assert found[-1] - found[0] <= 8
