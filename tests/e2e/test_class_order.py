"""A stage's training and validation set go by the names of their classes, and so do its checkpoints afterwards."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import DataConfig, stage_from_dict
from idol_core.data.dataset import open_annotations
from idol_core.data.set_digest import results_fit
from idol_core.engine.stage import run_stage
from idol_core.errors import InvalidInput
from idol_core.metadata import file_metadata, to_metadata
from idol_core.weights import save_weights
from tests.e2e.stages import events, newest, stage_config, weights, write_data, write_order


@pytest.fixture
def source(tmp_path):
    return write_data(tmp_path / "data")


def renamed(source, path: Path, names: dict[int, str]):
    """The same videos and objects, the category ids called otherwise; an object keeps the name of its class."""
    document = json.loads(Path(source.annotations).read_text())
    old = {c["id"]: c["name"] for c in document["categories"]}
    new = {name: number for number, name in names.items()}
    document["categories"] = [{"id": number, "name": name} for number, name in names.items()]
    for annotation in document["annotations"]:
        annotation["category_id"] = new.get(old[annotation["category_id"]], annotation["category_id"])
    path.write_text(json.dumps(document))
    return dataclasses.replace(source, annotations=str(path))


def images_stage(folder: Path, train, val, *, classes_map=()) -> Path:
    """Step 1 of one iteration on frames: it reports a hundred instances an image, whatever the weights are."""
    config = stage_config(train, step=1, iterations=1, milestones=(), batch_size=2, micro_batches=1)
    data = DataConfig(train=train, val=val, workers=0, classes_map=classes_map)
    return write_order(folder, dataclasses.replace(config, data=data))


def named_results(folder: Path, names: dict[int, str]) -> list[tuple]:
    found = json.loads((folder / "results.json").read_text())
    return [(r["image_id"], names[r["category_id"]], r["score"], r["segmentation"]["counts"]) for r in found]


def test_a_validation_set_in_another_order_has_its_own_ids_and_the_same_scores(source, tmp_path):
    usual, turned = {4: "first", 9: "second"}, {4: "second", 9: "first"}
    folders = {}
    for key, names in (("usual", usual), ("turned", turned)):
        val = renamed(source, tmp_path / f"{key}.json", names)
        folders[key] = images_stage(tmp_path / key, source, val)
        run_stage(folders[key], should_stop=lambda: False)
    found = named_results(folders["usual"], usual)
    assert found == named_results(folders["turned"], turned)
    assert {name for _, name, _, _ in found} == {"first", "second"}
    sets = {key: open_annotations(tmp_path / f"{key}.json", "vis") for key in folders}
    fits = [results_fit(folder, index) for folder in folders.values() for index in sets.values()]
    assert fits == [True, False, False, True]  # the stages have recorded what their ids stand for
    scores = [json.loads((folder / "evaluation.json").read_text()) for folder in folders.values()]
    assert scores[0]["stats"] == scores[1]["stats"]
    assert scores[0]["per_category"]["4"] == scores[1]["per_category"]["9"]
    assert file_metadata(folders["turned"] / "weights.safetensors").classes == ("first", "second")
    assert json.loads((folders["turned"] / "classes.json").read_text()) == ["first", "second"]


def test_other_classes_are_refused_before_training_unless_the_recipe_pairs_them(source, tmp_path):
    val = renamed(source, tmp_path / "other.json", {4: "third", 9: "first"})
    folder = images_stage(tmp_path / "refused", source, val)
    with pytest.raises(InvalidInput, match=r"only in the training set: 'second'; .*validation set: 'third'") as caught:
        run_stage(folder, should_stop=lambda: False)
    assert "--set 'data.classes_map=[second=third]'" in caught.value.fix
    assert newest(folder) == 0
    paired = images_stage(tmp_path / "paired", source, val, classes_map=("second=third",))
    run_stage(paired, should_stop=lambda: False)
    assert {r["category_id"] for r in json.loads((paired / "results.json").read_text())} == {4, 9}
    assert results_fit(paired, open_annotations(tmp_path / "other.json", "vis"))


def test_a_stage_puts_the_class_heads_that_it_starts_from_in_its_own_order(source, tmp_path):
    folder = images_stage(tmp_path / "stage", source, source)
    order = json.loads((folder / "stage.json").read_text())
    order["config"]["init"] = str(tmp_path / "start.safetensors")
    order["config"]["solver"]["lr"] = 1e-12  # so that what comes out is what came in
    (folder / "stage.json").write_text(json.dumps(order))
    config = stage_from_dict(order["config"])
    model = build_model(config.model)
    for head in model.decoder.class_heads:
        torch.nn.init.normal_(head.weight)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_weights(tmp_path / "start.safetensors", state, to_metadata(config, ["second", "first"]))
    run_stage(folder, should_stop=lambda: False)
    trained = weights(folder)
    for name in (name for name in state if name.startswith("decoder.class_heads.")):
        torch.testing.assert_close(trained[name], state[name].flip(0))
    assert "put in the training set's order" in events(folder, "start")[0]["text"]

    other = images_stage(tmp_path / "other", source, source)
    (other / "stage.json").write_text(json.dumps(order))
    save_weights(tmp_path / "start.safetensors", state, to_metadata(config, ["second", "third"]))
    run_stage(other, should_stop=lambda: False)
    for name in (name for name in state if name.startswith("decoder.class_heads.")):
        torch.testing.assert_close(weights(other)[name][1], state[name][0])
    assert "class heads kept by name: 'second'; new: 'first'" in events(other, "start")[0]["text"]
