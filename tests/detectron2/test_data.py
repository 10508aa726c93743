"""Catalogues, mapper and conversions."""

from __future__ import annotations

import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed")

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

import idol_core.detectron2 as idol
from idol_core.data.annotations import rle
from idol_core.data.collate import Sample, collate_frames
from idol_core.errors import InvalidInput, Missing
from idol_core.ops.pixels import normalized
from idol_core.tracking.online import TrackedFrame
from idol_core.yacs import DATA_SETS
from tests.unit.data_sets import disc, small_images

pytestmark = pytest.mark.detectron2


def test_every_published_name_is_registered_and_read_only_when_asked_for():
    assert set(DATA_SETS) <= set(DatasetCatalog.list())
    assert MetadataCatalog.get("ytvis_2019_val").evaluator_type == "ytvis"
    with pytest.raises(Missing, match="ytvis19_val"):
        DatasetCatalog.get("ytvis_2019_val")


def test_videos_in_the_catalogue(toy):
    records, dataset = DatasetCatalog.get(toy), idol.open_registered(toy)
    metadata = MetadataCatalog.get(toy)
    assert metadata.thing_classes == dataset.category_names
    assert metadata.thing_dataset_id_to_contiguous_id == {10 + i: i for i in range(5)}
    assert [r["video_id"] for r in records] == [v.id for v in dataset.videos]
    record, tracks = records[0], dataset.tracks(0)
    assert record["length"] == len(record["file_names"]) == len(record["annotations"])
    for t, present in enumerate(record["annotations"]):
        assert [a["id"] for a in present] == [x.id for x in tracks if x.segmentations[t] is not None]
        for a in present:
            x, y, w, h = a["bbox"]
            mask = rle.decode([a["segmentation"]], record["height"], record["width"])[0]
            assert mask[int(y) : int(y + h), int(x) : int(x + w)].sum() == mask.sum() > 0


def test_training_pairs_of_videos(cfg, toy):
    np.random.seed(0)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.MIN_SIZE_TRAIN = False, (112, 128)  # so that nothing is lost but by leaving
    mapper = idol.IdolMapper.of(cfg, is_train=True)
    absent = 0
    for record in DatasetCatalog.get(toy) * 5:
        item = mapper(record)
        assert "annotations" not in item
        (key, ref), (a, b) = item["image"], item["instances"]
        assert key.dtype == ref.dtype == torch.uint8
        assert len(a) == len(b)
        assert torch.equal(a.gt_classes, b.gt_classes)
        for image, found in ((key, a), (ref, b)):
            assert found.image_size == tuple(image.shape[1:])
            here = found.gt_ids >= 0
            boxes = found.gt_masks.get_bounding_boxes().tensor
            assert torch.equal(found.gt_boxes.tensor[here], boxes[here])
            assert (found.gt_ids[here] == torch.arange(len(found))[here]).all()
        assert (a.gt_ids >= 0).all()
        absent += int((b.gt_ids < 0).sum())
    assert absent


def test_training_pairs_of_images(cfg, tmp_path):
    dataset = small_images(tmp_path, height=60, width=80)
    register_coco_instances("small_images", {}, str(dataset.source), str(tmp_path / "frames"))
    cfg.INPUT.COCO_PRETRAIN, cfg.INPUT.RANDOM_FLIP, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = True, "horizontal", "choice"
    record = next(r for r in DatasetCatalog.get("small_images") if r["annotations"])
    np.random.seed(1)
    item = idol.IdolMapper.of(cfg, is_train=True)(record)
    assert len(item["image"]) == len(item["instances"]) == 2
    assert len(item["instances"][0]) == 1
    tested = idol.IdolMapper.of(cfg, is_train=False)(record)
    assert tested["image"].shape == (3, 80, 107)
    assert tested["height"] == 60


def test_samples_and_instances_both_ways():
    image = torch.zeros(3, 40, 50, dtype=torch.uint8)
    masks = torch.from_numpy(np.stack([disc(40, 50, 20, 20, 8), np.zeros((40, 50), bool)]))
    boxes = torch.tensor([[13.0, 13, 28, 28], [0, 0, 0, 0]])
    sample = Sample(image, torch.tensor([3, 1]), boxes, masks, torch.tensor([True, False]))
    instances = idol.sample_to_instances(sample, ids=[70, 71])
    assert instances.gt_ids.tolist() == [70, -1]
    again = idol.instances_to_sample(image, instances)
    assert all(torch.equal(a, b) for a, b in zip(again, sample, strict=True))
    instances.remove("gt_ids")
    assert idol.instances_to_sample(image, instances).present.tolist() == [True, True]
    with pytest.raises(InvalidInput, match="their frame is"):
        idol.instances_to_sample(image[:, :30], instances)


def test_polygons_are_filled():
    found = Instances((40, 50))
    found.gt_classes, found.gt_boxes = torch.tensor([0]), Boxes(torch.tensor([[10.0, 10, 30, 30]]))
    found.gt_masks = PolygonMasks([[np.array([10.0, 10, 30, 10, 30, 30, 10, 30])]])
    sample = idol.instances_to_sample(torch.zeros(3, 40, 50, dtype=torch.uint8), found)
    assert int(sample.masks.sum()) == 400


def test_bit_masks_and_run_lengths_both_ways():
    masks = BitMasks(torch.from_numpy(np.stack([disc(20, 30, 10, 9, 5), disc(20, 30, 0, 0, 3)])))
    rles = idol.bit_masks_to_rles(masks)
    assert rles == [rle.to_json(rle.encode(mask.numpy())) for mask in masks.tensor]
    assert torch.equal(idol.rles_to_bit_masks(rles, (20, 30)).tensor, masks.tensor)


def test_frames_and_image_lists_both_ways(cfg):
    config = idol.stage_config(cfg).input
    images = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for h, w in ((40, 70), (33, 20))]
    frames = collate_frames(images, config=config)
    listed = idol.frames_to_image_list(frames)
    assert listed.image_sizes == [(40, 70), (33, 20)]
    back = idol.image_list_to_frames(listed)
    assert all(torch.equal(a, b) for a, b in zip(back[:3], normalized(frames)[:3], strict=True))


def test_tracked_frames_become_instances():
    mask = disc(20, 30, 10, 9, 5)
    counts = [rle.encode(mask)["counts"]]
    boxes = np.array([[5.0, 4, 15, 14]], np.float32)
    frame = TrackedFrame(0, np.array([7]), np.array([2]), np.array([0.5], np.float32), boxes, counts, (20, 30))
    found = idol.tracked_to_instances(frame)
    assert found.track_ids.tolist() == [7]
    assert (found.pred_classes.tolist(), found.scores.tolist()) == ([2], [0.5])
    assert torch.equal(found.pred_masks, torch.from_numpy(mask)[None])
    assert torch.equal(found.pred_boxes.tensor, torch.from_numpy(boxes))
