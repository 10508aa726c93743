"""Box NMS keeps the boxes that torchvision's keeps."""

import torch
import torchvision

from idol_core.ops.nms import box_nms


def test_the_boxes_kept_are_those_of_torchvision():
    generator = torch.Generator().manual_seed(0)
    for number in range(60):
        count = 5 * number // 4
        places = torch.rand(1 + count // 6, 4, generator=generator)[torch.arange(count) // 6]
        corner, size = (places + 0.1 * torch.rand(count, 4, generator=generator)).split(2, dim=1)
        boxes = torch.cat((corner, corner + size), 1)
        if number % 3 == 0:  # equal boxes, boxes without area
            boxes = (boxes * 4).round() / 4
        scores = torch.rand(count, generator=generator).mul(10).round()  # equal scores, too
        for threshold in (0.5, 0.7, 0.9):
            kept = box_nms(boxes, scores, threshold)
            assert kept.tolist() == torchvision.ops.nms(boxes, scores, threshold).tolist()


def test_an_overlap_of_the_threshold_is_not_above_it():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [0, 0, 4, 2]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert box_nms(boxes, scores, 0.75).tolist() == [0, 1, 2]
    assert box_nms(boxes, scores, 0.5).tolist() == [0, 2]
