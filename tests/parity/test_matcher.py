"""matcher.npz: which queries every instance takes. Discrete, so exact."""

import numpy as np
import pytest
import torch

from idol_core.losses.simota import Assignment, match
from tests.parity import kit
from tests.parity.padding import pad_targets

CASES = kit.cases(kit.arrays("matcher"))


def assert_recorded(assignment: Assignment, row: int, case: dict[str, np.ndarray]) -> None:
    gt, count = assignment.gt[row].numpy(), len(case["tgt_labels"])
    np.testing.assert_array_equal(gt >= 0, case["selected"])
    np.testing.assert_array_equal(gt[gt >= 0], case["gt_indices"])
    np.testing.assert_array_equal(assignment.anchor[row, :count].numpy(), case["matched_query"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.get("kind", "empty")))
def test_single_frames(case):
    logits, boxes = (torch.from_numpy(case[name])[None] for name in ("logits", "boxes"))
    assert_recorded(match(logits, boxes, pad_targets([case])), 0, case)


@pytest.mark.parametrize("shape", sorted({case["logits"].shape for case in CASES}), ids=str)
def test_all_frames_of_a_size_at_once_in_several_layers(shape):
    """Frames with other numbers of instances, other rounds of repair and other layers beside them change nothing."""
    frames = [case for case in CASES if case["logits"].shape == shape]
    logits, boxes = (torch.from_numpy(np.stack([case[name] for case in frames])) for name in ("logits", "boxes"))
    layers = match(
        torch.stack((logits, logits.roll(1, 0))), torch.stack((boxes, boxes.roll(1, 0))), pad_targets(frames)
    )
    for row, case in enumerate(frames):
        assert_recorded(Assignment(layers.gt[0], layers.anchor[0]), row, case)
