"""forward_{r50,r101,swinl}.npz: the network in evaluation, from pixels to logits, boxes, embeddings and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity import kit, network
from tests.parity.tolerances import BOX, EMBEDDING, FACT, LOGIT, MASK_LOGIT

OUTPUTS = {
    "pred_logits": LOGIT,
    "pred_boxes": BOX,
    "pred_inst_embed": EMBEDDING,
    "reference_points": BOX,
    "pred_masks": MASK_LOGIT,
    "pred_masks_mean_all_queries": MASK_LOGIT,
}

CASES = [(name, i) for name in ("r50", "r101", "swinl") for i in range(len(kit.cases(kit.arrays(f"forward_{name}"))))]


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}-c{c[1]}")
def run(request: pytest.FixtureRequest) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A case's recorded arrays, and the same things of ours."""
    name, i = request.param
    case = kit.cases(kit.arrays(f"forward_{name}"))[i]
    return case, observe(f"ytvis19_{name}", case)


@torch.no_grad()
def observe(manifest: str, case: dict[str, np.ndarray]) -> dict[str, Any]:
    model = network.filled_model(manifest)
    frames = network.frame_batch(kit.make_image(s, *size) for s, size in zip(case["seeds"], case["sizes"], strict=True))
    seen: dict[str, Any] = {}

    def keep(key: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: seen.__setitem__(key, output)

    watched = {"features": model.backbone, "pyramid": model.pyramid}
    watched |= {f"proj{i}": module for i, module in enumerate(model.pyramid.projections)}
    hooks = [module.register_forward_hook(keep(key)) for key, module in watched.items()]
    try:
        decoded = model(frames)
    finally:
        for hook in hooks:
            hook.remove()

    layers, b, q = decoded.logits.shape[:3]
    features = model.mask_features(decoded)
    chosen = torch.from_numpy(case["mask_query_indices"])
    row = torch.arange(b).repeat_interleave(q)
    last = torch.full_like(row, layers - 1)
    masks = model.mask_logits(decoded, features, last, row, torch.arange(q).repeat(b)).unflatten(0, (b, q))
    return seen | {
        "frames": frames,
        "decoded": decoded,
        "mask_features": features,
        "pred_logits": decoded.logits[-1],
        "pred_boxes": decoded.boxes[-1],
        "pred_inst_embed": model.embed(decoded.queries[-1]),
        "reference_points": decoded.references[-1],
        "pred_masks": masks[torch.arange(b)[:, None], chosen],
        "pred_masks_mean_all_queries": masks.mean((2, 3)),
        "level_embedding": model.pyramid.level_embedding,
    }


@pytest.mark.parametrize("output", OUTPUTS)
def test_outputs(run, output: str) -> None:
    case, ours = run
    OUTPUTS[output].check(ours[output], case[output])


def test_backbone_and_projected_levels(run) -> None:
    case, ours = run
    assert list(ours["frames"].images.shape) == case["padded_shape"].tolist()
    for key, found in zip(("res3", "res4", "res5"), ours["features"], strict=True):
        same_map(found, case, key)
    for i in range(4):
        same_map(ours[f"proj{i}"], case, f"proj{i}")


def test_padding_and_position_of_every_level(run) -> None:
    case, ours = run
    pyramid = ours["pyramid"]
    sizes = [h * w for h, w in pyramid.level_shapes]
    padding = torch.zeros(pyramid.cells.shape[:2], dtype=torch.bool) if pyramid.padding is None else pyramid.padding
    paddings, positions = padding.split(sizes, dim=1), pyramid.position.split(sizes, dim=1)
    for i, shape in enumerate(pyramid.level_shapes):
        assert np.array_equal(paddings[i].unflatten(1, shape), case[f"padmask{i}"])
        FACT.check(stat(positions[i] - ours["level_embedding"][i]), case[f"pos{i}_stat"])


def test_encoder_memory(run) -> None:
    case, ours = run
    memory = ours["decoded"].memory
    FACT.check(stat(memory), case["memory_stat"])
    FACT.check(memory[:, case["memory_positions"], :8], case["memory_first8"])


def test_every_decoder_layer(run) -> None:
    case, ours = run
    decoded = ours["decoded"]
    for queries, expected in zip(decoded.queries, case["decoder_hs_stat"], strict=True):
        FACT.check(stat(queries), expected)
    FACT.check(decoded.queries[:, :, 0, :8], case["decoder_hs_q0_first8"])
    BOX.check(decoded.references[0, :, :4], case["init_reference_first4"])
    BOX.check(decoded.boxes[:, :, 0], case["inter_references_q0"])
    BOX.check(decoded.references[1:, :, 0], case["inter_references_q0"][:-1, :, :2])


def test_mask_features(run) -> None:
    case, ours = run
    same_map(ours["mask_features"], case, "mask_feature")


def stat(x: Tensor) -> Tensor:
    """(mean, population standard deviation, largest magnitude) in float64."""
    x = x.double()
    return torch.stack((x.mean(), x.std(correction=0), x.abs().max()))


def same_map(found: Tensor, case: dict[str, np.ndarray], key: str) -> None:
    assert list(found.shape) == case[f"{key}_shape"].tolist()
    FACT.check(stat(found), case[f"{key}_stat"])
