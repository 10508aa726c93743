"""train_r50.npz: one training step of IDOL with ResNet-50, every loss of every layer, assignments and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from idol_core.build import build_model
from idol_core.config import InputConfig, LossConfig
from idol_core.data.collate import Sample, collate_pairs
from idol_core.losses.criterion import Criterion
from idol_core.losses.simota import Assignment, match
from idol_core.model.idol import IDOL
from idol_core.structures import Batch, Decoded
from idol_core.weights.names import published_name
from tests.parity import kit, network
from tests.parity.fill import canonical
from tests.parity.tolerances import GRADIENT_ENTRY, GRADIENT_NORM, LOSS

CASES = kit.cases(kit.arrays("train_r50"))


class Step(NamedTuple):
    """A recorded case beside what our forward and backward pass gave."""

    case: dict[str, np.ndarray]
    batch: Batch
    decoded: Decoded
    losses: dict[str, Tensor]
    gradients: dict[str, Tensor | None]  # of the trainable parameters, by published name


@pytest.fixture(scope="module")
def model() -> IDOL:
    """In training mode without dropout."""
    model = build_model(dataclasses.replace(network.config_of("ytvis19_r50"), dropout=0.0))
    model.load_state_dict(network.filled_model("ytvis19_r50").state_dict())
    return model.train()


@pytest.fixture(scope="module", params=range(len(CASES)), ids=lambda i: f"c{i}")
def step(request: pytest.FixtureRequest, model: IDOL) -> Iterator[Step]:
    case = CASES[request.param]
    batch = batch_of(case)
    decoded = model(batch.frames)
    losses = Criterion(LossConfig())(model, decoded, batch)
    model.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {published_name(name): p.grad for name, p in model.named_parameters() if p.requires_grad}
    yield Step(case, batch, decoded, {name: value.detach() for name, value in losses.items()}, gradients)
    model.zero_grad(set_to_none=True)


def batch_of(case: dict[str, np.ndarray]) -> Batch:
    videos = range(len(case["seeds"]))
    pairs = [(sample_of(case, v, "key"), sample_of(case, v, "ref")) for v in videos]
    return collate_pairs(pairs, config=InputConfig())


def sample_of(case: dict[str, np.ndarray], video: int, name: str) -> Sample:
    frame = ("key", "ref").index(name)
    image = kit.make_image(case["seeds"][video, frame], *case["sizes_key_ref"][video, frame])
    labels, boxes, masks, ids = (
        torch.from_numpy(case[f"v{video}_{name}_{field}"]) for field in ("labels", "boxes_xyxy", "masks", "ids")
    )
    return Sample(torch.from_numpy(image), labels, boxes, masks, ids != -1)


def test_weights_of_the_losses() -> None:
    config = LossConfig()
    fields = {
        "loss_ce": config.classification, "loss_bbox": config.l1, "loss_giou": config.giou, "loss_mask": config.mask,
        "loss_dice": config.dice, "loss_reid": config.contrastive, "loss_reid_aux": config.auxiliary,
    }  # fmt: skip
    for case in CASES:
        for name, weight in zip(case["loss_names"], case["loss_weights"], strict=True):
            assert fields[name.rstrip("_0123456789")] == weight


def test_assignment_of_every_layer(step: Step) -> None:
    keys = step.decoded.frames(slice(0, None, 2))
    assignment = match(keys.logits, keys.boxes, step.batch.key)
    for layer in range(len(keys.logits)):
        for video in range(len(step.case["seeds"])):
            assert_assigned(assignment, layer, video, step)


def assert_assigned(assignment: Assignment, layer: int, video: int, step: Step) -> None:
    prefix = f"layer{layer}_v{video}"
    gt, count = assignment.gt[layer, video].numpy(), int(step.batch.key.valid[video].sum())
    np.testing.assert_array_equal(np.flatnonzero(gt >= 0), step.case[f"{prefix}_selected"])
    np.testing.assert_array_equal(gt[gt >= 0], step.case[f"{prefix}_gt"])
    np.testing.assert_array_equal(assignment.anchor[layer, video, :count].numpy(), step.case[f"{prefix}_matched"])


def test_every_loss(step: Step) -> None:
    recorded = dict(zip(step.case["loss_names"], step.case["loss_weighted"], strict=True))
    assert step.losses.keys() == recorded.keys()
    for name, value in step.losses.items():
        LOSS.check(value, recorded[name], name)
    LOSS.check(torch.stack(list(step.losses.values())).sum(), step.case["total"], "total")


def test_parameters_without_gradient(step: Step) -> None:
    recorded = {canonical(name) for name in step.case["params_without_grad"].tolist()}
    assert {name for name, gradient in step.gradients.items() if gradient is None} == recorded


def test_gradients(step: Step) -> None:
    """Norms; and the first four entries, to within the same share of themselves or of an average entry."""
    norms = {name: g.double().norm() for name, g in step.gradients.items() if g is not None}
    recorded = zip(step.case["grad_names"], step.case["grad_norms"], step.case["grad_first4"], strict=True)
    for name, norm, first in recorded:
        gradient = step.gradients[canonical(name)]
        if gradient is None:
            assert np.isnan(norm)
            continue
        GRADIENT_NORM.check(norms[canonical(name)], norm, name)
        start, average = gradient.flatten()[: len(first)], norm / gradient.numel() ** 0.5
        GRADIENT_ENTRY.check(start, first[: len(start)], name, largest=average)
    GRADIENT_NORM.check(torch.stack(list(norms.values())).norm(), step.case["total_grad_norm"], "total")
