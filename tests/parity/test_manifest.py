"""manifest_*.json: the published state dicts map onto our modules one to one, both ways."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch

from idol_core.build import assemble
from idol_core.errors import Integrity, InvalidInput
from idol_core.weights import ours_to_published, published_to_ours
from idol_core.weights.infer_config import expected_shapes
from idol_core.weights.names import our_name
from tests.parity import kit, network

MANIFESTS = sorted(path.stem.removeprefix("manifest_") for path in kit.DATA.glob("manifest_*.json"))


@cache
def published_state(manifest: str) -> dict[str, torch.Tensor]:
    """Every entry a tensor of its own content (cheap: one number, expanded), shared where the original shares."""
    document = kit.document(f"manifest_{manifest}")
    state = {
        key: torch.tensor(float(i)).expand(shape)
        for i, (key, shape, dtype) in enumerate(document["entries"])
        if dtype == "float32"
    }
    for keys in document["shared_storage"]:
        state |= dict.fromkeys(keys, state[keys[0]])
    for key, shape, dtype in document["entries"]:
        if key not in state:
            assert dtype == "int64"
            state[key] = window_index(shape[0])
    return state


def window_index(cells: int) -> torch.Tensor:
    """Swin's index table from its definition, pair by pair."""
    window = round(cells**0.5)
    place = [divmod(i, window) for i in range(cells)]
    rows = [[(a[0] - b[0] + window - 1) * (2 * window - 1) + a[1] - b[1] + window - 1 for b in place] for a in place]
    return torch.tensor(rows)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_published_names_map_to_ours_and_back(manifest: str) -> None:
    state, config = published_state(manifest), network.config_of(manifest)
    ours = published_to_ours(state, config)
    assert {name: tuple(tensor.shape) for name, tensor in ours.items()} == expected_shapes(config)

    back = ours_to_published(ours, config)
    document = kit.document(f"manifest_{manifest}")
    assert {(key, tuple(shape), dtype) for key, shape, dtype in document["entries"]} == {
        (key, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in back.items()
    }
    for key, tensor in state.items():
        assert back[key] is tensor or (tensor.dtype == torch.int64 and torch.equal(back[key], tensor))
    for keys in document["shared_storage"]:
        assert len({id(back[key]) for key in keys}) == 1
    assert len(back) - sum(len(keys) - 1 for keys in document["shared_storage"]) == len(ours) + sum(
        dtype == "int64" for _, _, dtype in document["entries"]
    )


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_parameters_buffers_and_frozen_parts(manifest: str) -> None:
    with torch.device("meta"):
        model = assemble(network.config_of(manifest))
    document = kit.document(f"manifest_{manifest}")
    parameters = dict(model.named_parameters())
    assert {our_name(key) for key in document["parameters"]} == set(parameters)
    index_tables = {key for key in document["buffers"] if key.endswith("relative_position_index")}
    assert {our_name(key) for key in set(document["buffers"]) - index_tables} == set(model.state_dict()) - set(
        parameters
    )
    frozen = {name for name, parameter in parameters.items() if not parameter.requires_grad}
    unused = {
        name for name in parameters if name.startswith("backbone.norms.0.")
    }  # Swin's stride 4; no gradient either
    assert frozen - unused == {our_name(key) for key in document["frozen_parameters"]}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_wrong_model_is_named_in_a_sentence(manifest: str) -> None:
    state, config = published_state(manifest), network.config_of(manifest)
    for other in MANIFESTS:
        wanted = network.config_of(other)
        if (wanted.backbone, wanted.num_classes) == (config.backbone, config.num_classes):
            continue
        with pytest.raises(InvalidInput) as caught:
            published_to_ours(state, wanted)
        if wanted.backbone != config.backbone:
            assert re.search(r"the weights have a \S+ backbone, the model a \S+", caught.value.what)
        else:
            assert caught.value.what == f"the weights have {config.num_classes} classes, the model {wanted.num_classes}"


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_nothing_may_be_missing_left_over_or_misshapen(manifest: str) -> None:
    state, config = published_state(manifest), network.config_of(manifest)
    for key in state:
        if "layers.1.blocks.1." in key or "layers.5." in key or key.startswith("detr.controller"):
            with pytest.raises(Integrity):
                published_to_ours({k: tensor for k, tensor in state.items() if k != key}, config)
    with pytest.raises(Integrity, match=r"detr\.detr\.extra"):
        published_to_ours(state | {"detr.detr.extra": torch.zeros(1)}, config)
    key = "detr.mask_head.dcn.weight"
    with pytest.raises(Integrity, match=r"mask_head\.conv8\.weight has shape"):
        published_to_ours(state | {key: torch.zeros(1)}, config)
