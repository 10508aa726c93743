"""The meta architecture against our own road: the same weights, bit for bit the same numbers."""

from __future__ import annotations

import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed")

import copy
import json

import numpy as np
import torch
from detectron2.data import DatasetCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import SimpleTrainer
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_backbone, build_model
from detectron2.structures import ImageList

import idol_core.detectron2 as idol
from idol_core.build import build_model as build_ours
from idol_core.data.collate import collate_frames, collate_pairs
from idol_core.data.frames import read_frame
from idol_core.data.images import as_images
from idol_core.data.transforms import resize_for_test
from idol_core.errors import InvalidInput
from idol_core.evaluation.video_ap import evaluate_vis
from idol_core.inference.datasets import infer_images, infer_videos
from idol_core.inference.streaming import VideoSegmenter
from idol_core.losses.criterion import Criterion
from idol_core.ops.pixels import normalized
from idol_core.weights import transfer
from tests.detectron2.conftest import liven

pytestmark = pytest.mark.detectron2


@pytest.fixture
def ours(cfg, model):
    """Our network with the same weights, built and loaded without detectron2."""
    network = build_ours(idol.stage_config(cfg).model)
    transfer(network, {name: tensor.clone() for name, tensor in model.model.state_dict().items()})
    return network.eval()


@pytest.fixture
def segmenter(cfg, ours):
    config = idol.stage_config(cfg)
    return VideoSegmenter(ours, tracker=config.tracker, input=config.input, classes=list("abcde"))


def _frames(toy):
    dataset = idol.open_registered(toy)
    return [read_frame(name) for name in dataset.videos[0].file_names]


def test_forward_is_ours_bit_for_bit(cfg, model, ours, toy):
    config = idol.stage_config(cfg).input
    images = [resize_for_test(frame, config) for frame in _frames(toy)[:2]]
    images[1] = images[1][:, :70, :90]
    frames = collate_frames(images, config=config)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.pixel_mean, config.pixel_std))
    theirs = idol.image_list_to_frames(ImageList.from_tensors([(image - mean) / std for image in images], 32))
    assert all(torch.equal(a, b) for a, b in zip(theirs[:3], normalized(frames)[:3], strict=True))
    with torch.no_grad():
        a, b = model.model(theirs), ours(frames)
        layer, row, query = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([3, 4])
        masks = [m.mask_logits(d, m.mask_features(d), layer, row, query) for m, d in ((model.model, a), (ours, b))]
    for name in ("logits", "boxes", "references", "queries", "memory"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(*masks)


def test_a_video_is_tracked_as_by_the_segmenter(cfg, model, segmenter, toy):
    frames = _frames(toy)
    inputs = {"image": [resize_for_test(f, segmenter.input) for f in frames], "height": 96, "width": 128}
    found = model([inputs])
    tracks = segmenter.segment(frames)
    scored = tracks.scored(segmenter.tracker)
    assert len(scored) > 3
    assert found["image_size"] == frames[0].shape[:2]
    assert found["pred_scores"] == [score for _, _, score in scored]
    assert found["pred_labels"] == [label for _, label, _ in scored]
    assert len(found["pred_masks"]) == len(scored)
    for i in (0, len(scored) - 1):
        masks, rles = found["pred_masks"][i], tracks.segmentations(scored[i][0])
        assert masks.shape == (len(frames), *frames[0].shape[:2])
        assert [bool(m.any()) for m in masks] == [
            r is not None and bool(idol.rles_to_bit_masks([r], frames[0].shape[:2]).tensor.any()) for r in rles
        ]


def test_inference_on_dataset_gives_our_results_and_scores(cfg, model, segmenter, toy, tmp_path):
    dataset = idol.open_registered(toy)
    loader = build_detection_test_loader(cfg, toy, mapper=idol.IdolMapper.of(cfg, is_train=False))
    evaluator = idol.VideoEvaluator(toy, output_dir=tmp_path)
    found = inference_on_dataset(model, loader, evaluator)
    results = infer_videos(segmenter, dataset, on_progress=lambda done, total: None)
    assert len(results) > 3
    assert json.loads((tmp_path / "results.json").read_text()) == results
    stats = evaluate_vis(dataset.source, results).stats
    assert found["segm"] == {
        name: 100 * stats[name] if stats[name] >= 0 else pytest.approx(float("nan"), nan_ok=True)
        for name in found["segm"]
    }


def test_masks_of_other_models_are_scored_too(toy):
    dataset = idol.open_registered(toy)
    evaluator = idol.VideoEvaluator(toy, distributed=False)
    for row, video in enumerate(dataset.videos):
        tracks = dataset.tracks(row)
        size = (video.height, video.width)
        masks = [
            [idol.rles_to_bit_masks([r], size).tensor[0] if r is not None else None for r in track.segmentations]
            for track in tracks
        ]
        output = {"pred_scores": [0.9] * len(tracks), "pred_labels": [t.category for t in tracks], "pred_masks": masks}
        evaluator.process([{"video_id": video.id}], output)
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100)


def test_an_iteration_of_simple_trainer(cfg, model, toy):
    np.random.seed(3)
    loader = build_detection_train_loader(
        DatasetCatalog.get(toy), mapper=idol.IdolMapper.of(cfg, is_train=True), total_batch_size=2, num_workers=0
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = copy.deepcopy(model.state_dict())
    trainer = SimpleTrainer(model.train(), loader, optimizer)
    trainer.train(0, 1)
    seen = {name: value for name, (value, _) in trainer.storage.latest().items() if name.startswith("loss_")}
    names = {"loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice"}
    assert set(seen) == names | {f"{n}_0" for n in names} | {"loss_reid", "loss_reid_aux"}
    assert all(np.isfinite(loss) for loss in seen.values())
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    groups = ("backbone", "encoder", "decoder", "controller", "mask_head", "reid_embed_head", "class_embed.1")
    assert all(any(part in name for name in changed) for part in groups)


def test_losses_are_those_of_our_criterion(cfg, model, ours, toy):
    config = idol.stage_config(cfg)
    np.random.seed(4)
    mapper = idol.IdolMapper.of(cfg, is_train=True)
    inputs = [mapper(record) for record in DatasetCatalog.get(toy)[:2]]
    pairs = [tuple(map(idol.instances_to_sample, item["image"], item["instances"])) for item in inputs]
    assert any(bool(key.present.any()) for key, _ in pairs)
    torch.manual_seed(5)
    theirs = model.train()(inputs)
    batch = collate_pairs(pairs, config=config.input)
    torch.manual_seed(5)
    mine = Criterion(config.loss)(ours.train(), ours(batch.frames), batch, generator=torch.default_generator)
    assert theirs.keys() == mine.keys()
    assert all(torch.equal(theirs[name], mine[name]) for name in mine)


def test_images_give_instances(cfg, model, ours, toy):
    config = idol.stage_config(cfg).input
    dataset = as_images(idol.open_registered(toy))
    frame = read_frame(dataset.videos[0].file_names[0])
    (found,) = model([{"image": resize_for_test(frame, config), "height": 96, "width": 128}])
    instances = found["instances"]
    results = infer_images(ours, dataset, input=config, images=[0], on_progress=lambda done, total: None)
    assert instances.scores.tolist() == [r["score"] for r in results]
    assert [dataset.category_ids[c] for c in instances.pred_classes.tolist()] == [r["category_id"] for r in results]
    assert idol.bit_masks_to_rles(instances.pred_masks) == [r["segmentation"] for r in results]


def test_inputs_that_are_not_a_pair_or_a_video_are_refused(model):
    frame = torch.zeros(3, 32, 32, dtype=torch.uint8)
    with pytest.raises(InvalidInput, match="2 videos in a batch"):
        model([{"image": [frame]}, {"image": [frame]}])
    with pytest.raises(InvalidInput, match="not a pair"):
        model.train()([{"image": [frame], "instances": []}])


@pytest.mark.parametrize("kind", ["build_resnet_fpn_backbone", "trained batch norm", "stride in 1x1"])
def test_any_registered_backbone_feeds_the_pyramid(cfg, kind, toy):
    if kind == "trained batch norm":
        cfg.MODEL.RESNETS.NORM = "BN"
    elif kind == "stride in 1x1":
        cfg.MODEL.RESNETS.STRIDE_IN_1X1 = True
    else:
        cfg.MODEL.BACKBONE.NAME = kind
        cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
        cfg.MODEL.FPN.OUT_CHANNELS = 24
    made = build_model(cfg)
    assert isinstance(made.model.backbone, idol.RegisteredBackbone)
    mapper = idol.IdolMapper.of(cfg, is_train=True)
    np.random.seed(6)
    losses = made.train()([mapper(DatasetCatalog.get(toy)[0])])
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in made.model.pyramid.parameters())
    assert any(p.grad is not None for p in made.model.backbone.parameters())
    again = build_model(cfg)
    report = again.load_state_dict(made.state_dict())
    assert not report.missing_keys
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), again.state_dict().values(), strict=True))


def test_detectron2s_own_resnet_takes_the_same_checkpoint(cfg, model, toy):
    config = idol.stage_config(cfg)
    network = build_ours(config.model, backbone=idol.RegisteredBackbone(build_backbone(cfg)))
    other = idol.IDOL(model=network, criterion=None, tracker=config.tracker, input=config.input).eval()
    liven(network)
    report = other.load_state_dict(model.state_dict())
    assert not report.missing_keys
    assert not report.unexpected_keys
    frames = collate_frames([resize_for_test(_frames(toy)[0], config.input)], config=config.input)
    with torch.no_grad():
        a, b = model.model(frames), other.model(frames)
    assert torch.allclose(a.logits, b.logits, atol=1e-4)
    assert torch.allclose(a.boxes, b.boxes, atol=1e-5)


def test_a_backbone_without_the_maps_is_refused(cfg):
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    with pytest.raises(InvalidInput, match="no map of stride 8 and 32"):
        build_model(cfg)
