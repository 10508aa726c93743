"""contrast.npz: contrastive samples (exact), the two contrastive losses and their gradients."""

import numpy as np
import pytest
import torch

from idol_core.losses.contrastive import auxiliary_loss, contrastive_loss, draw_order, select_samples
from tests.parity import kit
from tests.parity.padding import pad_targets
from tests.parity.tolerances import GRADIENT, LOSS

CASES = kit.cases(kit.arrays("contrast"))


def stacked(name: str, cases: list[dict[str, np.ndarray]] = CASES) -> torch.Tensor:
    return torch.from_numpy(np.stack([case[name] for case in cases]))


def test_samples_of_all_cases_at_once():
    samples = select_samples(stacked("ref_prob"), stacked("ref_boxes"), pad_targets(CASES, spare=1))
    for row, case in enumerate(CASES):
        count = len(case["valid"])
        np.testing.assert_array_equal(samples.positive[row, :count].numpy(), case["pos10"])
        np.testing.assert_array_equal(samples.negative[row, :count].numpy(), ~case["pos100"] & case["valid"][:, None])
        assert not samples.positive[row, count:].any()
        assert not samples.negative[row, count:].any()


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_losses_and_gradients(case):
    targets = pad_targets([case], spare=1)
    samples = select_samples(stacked("ref_prob", [case]), stacked("ref_boxes", [case]), targets)
    key, ref = (stacked(name, [case]).requires_grad_() for name in ("key_embed", "ref_embed"))
    anchors = torch.zeros(targets.valid.shape, dtype=torch.long)
    anchors[0, : len(case["valid"])] = torch.from_numpy(case["matched_query"])
    vectors = key.gather(1, anchors[..., None].expand(-1, -1, key.shape[-1]))
    order = draw_order(samples.negative.shape, None, key.device)

    items = max(int(targets.valid.sum()), 1)
    contrastive = contrastive_loss(vectors, ref, samples).sum() / items
    auxiliary = auxiliary_loss(vectors, ref, samples, order=order).sum() / items
    (contrastive + auxiliary).backward()

    assert int(targets.valid.sum()) == case["num_items"]
    LOSS.check(contrastive, case["loss_reid"])
    LOSS.check(auxiliary, case["loss_reid_aux"])
    for vector, name in ((key, "grad_key_embed"), (ref, "grad_ref_embed")):
        GRADIENT.check(vector.grad[0], case.get(name, np.zeros(vector.shape[1:])))
