"""What a weights file says of itself is checked as a recipe in YAML is, and against the tensors, before it is used."""

from __future__ import annotations

import json

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import StageConfig, stage_from_dict, stage_to_dict
from idol_core.errors import Integrity
from idol_core.inference.streaming import VideoSegmenter
from idol_core.metadata import read_metadata, to_metadata
from idol_core.weights import load_weights, open_weights, save_weights, start_from
from tests.unit.tiny import tiny_config

CONFIG = StageConfig("toy", "tiny", 3, model=tiny_config(num_classes=2))


def changed(key: str, value) -> dict[str, str]:
    """Metadata with one setting changed; a key of several parts leads into sections."""
    recipe = stage_to_dict(CONFIG)
    *path, last = key.split(".")
    place = recipe
    for part in path:
        place = place[part]
    place[last] = value
    return {"recipe": json.dumps(recipe), "classes": '["cat", "dog"]'}


def test_what_is_written_is_read():
    assert read_metadata(to_metadata(CONFIG, ["cat", "dog"]), where="w") == (CONFIG, ("cat", "dog"))
    assert read_metadata(to_metadata(CONFIG, None), where="w") == (CONFIG, None)
    assert read_metadata({}, where="w") == (None, None)


WRONG = [
    ("model.heads", 0), ("model.heads", 3), ("model.heads", True), ("model.queries", "20"), ("model.queries", 1.5),
    ("model.backbone", None), ("model.backbone.kind", "vit"), ("model.backbone.blocks", [1, 1]), ("model.sizes", 1),
    ("model", []), ("step", 4), ("step", True), ("tracker.batch_frames", -1), ("tracker.batch_frames", 10**9),
    ("tracker.score", "median"), ("tracker.box_nms", 2), ("input.test_short_side", 0),
    ("input.test_max_size", 10**9), ("input.pixel_mean", [1.0]), ("input.pixel_mean", [1e308] * 3),
    ("input.pixel_mean", [float("nan")] * 3), ("input.pixel_std", [0, 1, 1]), ("solver.lr", float("inf")),
    ("solver.lr", 10**400), ("solver.seed", 10**400), ("model.levels", 10**400), ("recipe", None),
    ("data.classes_map", ["person"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{k}={str(v)[:20]}" for k, v in WRONG])
def test_a_recipe_that_cannot_work_is_refused_with_the_setting(key, value):
    with pytest.raises(Integrity, match=key.replace(".", r"\.")) as caught:
        read_metadata(changed(key, value), where="w.safetensors")
    assert caught.value.where == "w.safetensors: metadata, recipe"
    assert caught.value.fix


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"model": ' * 50_000, "", "[]", "1" * 5000, '{"model": 1e400}', "nul"]
)
def test_metadata_that_is_not_a_recipe_is_refused(text):
    with pytest.raises(Integrity, match="recipe in the file"):
        read_metadata({"recipe": text}, where="w")


@pytest.mark.parametrize("text", ['["a"]', '["a", 2]', '{"a": 1}', '"ab"', "[" * 100_000, "null"])
def test_malformed_class_names_are_refused(text):
    with pytest.raises(Integrity, match=r"class|names"):
        read_metadata(changed("step", 3) | {"classes": text}, where="w")


def test_a_setting_that_is_left_out_has_its_default_and_every_stage_survives_its_json():
    tree = json.loads(json.dumps(stage_to_dict(CONFIG)))
    assert stage_from_dict(tree) == CONFIG
    del tree["model"]["dropout"], tree["tracker"]
    assert stage_from_dict(tree) == CONFIG
    with pytest.raises(ValueError, match="'recipe' is None; expected a value"):
        stage_from_dict({"backbone": "tiny", "step": 3})


@pytest.fixture
def weights(tmp_path):
    state = build_model(CONFIG.model).state_dict()

    def write(metadata, **tensors):
        path = tmp_path / "w.safetensors"
        save_weights(path, state | tensors, metadata)
        return path

    return write


SIZES = [
    ("model.encoder_layers", 10**7), ("model.decoder_layers", 10**7), ("model.queries", 10**12),
    ("model.feedforward_dim", 10**9), ("model.levels", 10**6), ("model.encoder_points", 10**9),
    ("model.decoder_points", 3), ("model.mask_channels", 10**6), ("model.hidden_dim", 320), ("model.heads", 4),
    ("model.backbone.blocks", [10**6, 1, 1, 1]), ("model.backbone.stem_channels", 10**9),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), SIZES, ids=[key for key, _ in SIZES])
def test_sizes_are_compared_with_the_tensors_before_anything_is_built(weights, key, value):
    with pytest.raises(Integrity):
        VideoSegmenter.from_pretrained(weights(changed(key, value)))


def test_another_number_of_classes_than_the_tensors_have_is_a_fault_of_the_file(weights):
    metadata = changed("model.num_classes", 3) | {"classes": '["a", "b", "c"]'}
    with pytest.raises(Integrity, match="have 2 classes, the model 3"):
        VideoSegmenter.from_pretrained(weights(metadata))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(weights, value):
    path = weights(to_metadata(CONFIG, ["cat", "dog"]), **{"mask_head.final.bias": torch.full((8,), value)})
    for use in (
        lambda: VideoSegmenter.from_pretrained(path),
        lambda: load_weights(path, CONFIG.model),
        lambda: start_from(build_model(CONFIG.model), path),
    ):
        with pytest.raises(Integrity, match=r"NaN or infinite in 1 tensor \(mask_head\.final\.bias\)"):
            use()


def test_a_few_numbers_that_pass_for_many_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"decoder.query_embedding": torch.zeros(1, 64).expand(10**9, 64)}, path)
    with pytest.raises(Integrity, match="not an array of plain numbers"):
        open_weights(path)
