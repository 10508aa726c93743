"""boxes.npz: box conversions and overlaps, the losses of boxes and masks, and the small maps of the mask head."""

import pytest
import torch

from idol_core.losses.detection import focal_loss, giou_loss
from idol_core.losses.mask import mask_losses
from idol_core.model.mask_head import cell_centres, upsample_twice
from idol_core.ops.boxes import cxcywh_to_xyxy, pairwise_giou, pairwise_iou, xyxy_to_cxcywh
from idol_core.ops.numeric import inverse_sigmoid
from tests.parity import kit
from tests.parity.tolerances import LOGIT, LOSS, OVERLAP


@pytest.fixture(params=range(len(kit.cases(kit.arrays("boxes")))))
def case(request):
    return {name: torch.from_numpy(value) for name, value in kit.cases(kit.arrays("boxes"))[request.param].items()}


def test_conversions(case):
    OVERLAP.check(cxcywh_to_xyxy(case["boxes1_cxcywh"]), case["boxes1_xyxy"])
    OVERLAP.check(xyxy_to_cxcywh(case["boxes1_xyxy"]), case["back_cxcywh"])


def test_overlaps(case):
    first, second = cxcywh_to_xyxy(case["boxes1_cxcywh"]), cxcywh_to_xyxy(case["boxes2_cxcywh"])
    iou, union = pairwise_iou(first, second)
    OVERLAP.check(iou, case["iou"], "iou")
    OVERLAP.check(union, case["union"], "union")
    OVERLAP.check(pairwise_giou(first, second), case["giou"], "giou")


def test_giou_loss(case):
    first, second = cxcywh_to_xyxy(case["boxes1_cxcywh"]), cxcywh_to_xyxy(case["boxes2_cxcywh"])
    LOSS.check(giou_loss(first[: len(second)], second), case["giou_loss_pairs"])


def test_mask_losses(case):
    logits, targets = case["loss_logits"], case["loss_targets"] > 0.5
    assert torch.equal(targets.float(), case["loss_targets"])
    focal, dice = mask_losses(logits, targets, alpha=0.25)
    LOSS.check(focal.sum() / 4, case["focal_num4"], "focal")
    LOSS.check(dice.sum() / 4, case["dice_num4"], "dice")
    elements = focal_loss(logits, targets, alpha=0.25)
    LOSS.check(elements.mean(1).sum() / 4, case["focal_num4"], "focal of elements")


def test_inverse_sigmoid(case):
    LOGIT.check(inverse_sigmoid(case["invsig_in"]), case["invsig_out"])


def test_upsampling_of_masks(case):
    LOGIT.check(upsample_twice(case["up2_in"][:, 0])[:, None], case["up2_out"])


def test_pixel_positions_of_mask_cells(case):
    OVERLAP.check(cell_centres(3, 4, 8).T, case["mask_locations_h3_w4_s8"])
