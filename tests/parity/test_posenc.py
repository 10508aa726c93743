"""posenc.npz: the sine position encoding of padded maps."""

from __future__ import annotations

import pytest
import torch

from idol_core.model.position import sine_encoding
from tests.parity import kit
from tests.parity.tolerances import POSITION

CASES = kit.cases(kit.arrays("posenc"))


@pytest.mark.parametrize("case", CASES)
def test_position_encoding(case) -> None:
    mask = torch.from_numpy(case["mask"])
    found = sine_encoding([mask], 2 * int(case["num_feats"]))  # [N, h*w, 2 * num_feats]
    POSITION.check(found.transpose(1, 2).unflatten(2, mask.shape[1:]), case["pos"])
