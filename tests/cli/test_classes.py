"""Commands that bring weights and data sets together go by the names of their classes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import DataConfig, DataSource, InputConfig, StageConfig, TrackerConfig, stage_to_dict
from idol_core.metadata import to_metadata
from idol_core.weights import ours_to_published, save_weights
from tests.cli.conftest import blocks
from tests.cli.mini import make_mini
from tests.unit.tiny import tiny_config
from tests.unit.vis_sets import box, result, truth

MODEL = tiny_config(num_classes=2)
LOW = TrackerConfig(select_threshold=0.01, init_threshold=0.01, new_threshold=0.01, class_score=0.01)
DATA = DataConfig(train=DataSource("usual_train"), val=DataSource("usual_val"))
CONFIG = StageConfig("mine", "tiny", 3, model=MODEL, tracker=LOW, input=InputConfig(test_short_side=64), data=DATA)
IDS = {"usual": {2: "red", 7: "green"}, "turned": {2: "green", 7: "red"}}


@pytest.fixture
def sets(call, tmp_path):
    """Two sets of the same videos: `turned` gives the names of `usual` to the other ids."""
    make_mini(tmp_path, videos=1)
    document = json.loads((tmp_path / "videos.json").read_text())
    for name, ids in IDS.items():
        numbers = {text: number for number, text in ids.items()}
        made = document | {"categories": [{"id": number, "name": text} for number, text in ids.items()]}
        made["annotations"] = [
            a | {"category_id": numbers[IDS["usual"][a["category_id"]]]} for a in document["annotations"]
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
        arguments = ("--frames", "frames", "--annotations", f"{name}.json", "--val-annotations", f"{name}.json")
        assert call("data", "add", name, *arguments)[0] == 0


@pytest.fixture
def weights(tmp_path):
    """Write random weights that see something everywhere and call their two classes as asked."""
    torch.manual_seed(0)
    model = build_model(MODEL)
    for head in model.decoder.class_heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.constant_(head.bias, -1.0)

    def write(classes, recipe=None):
        path = tmp_path / "mine.safetensors"
        changed = {} if recipe is None else {"recipe": recipe}
        save_weights(path, model.state_dict(), to_metadata(CONFIG, classes) | changed)
        return path

    return write


def entries(path) -> list[dict]:
    return json.loads(Path(path).read_text())


@pytest.mark.parametrize("name", ["usual", "turned"])
def test_predictions_on_a_data_set_have_its_category_ids(sets, weights, call, name):
    path = weights(["green", "red"])
    code, _, err = call("predict", f"{name}_val", "--weights", path, "--out", "out", "--save", "json", "--threshold", 0)
    assert code == 0, err
    found = entries("out/results.json")
    assert found
    assert all(IDS[name][entry["category_id"]] == entry["category"] for entry in found)


def test_predictions_of_a_set_with_other_classes_are_refused_unless_paired(sets, weights, call):
    path = weights(["green", "Red"])
    predict = ("predict", "usual_val", "--weights", path, "--out", "out", "--threshold", 0)
    code, _, err = call(*predict, "--save", "json")
    assert code == 2
    assert "only in the weights: 'Red'; only in the data set: 'red'" in blocks(err)[0]["error"]
    assert "--classes-map Red=red" in blocks(err)[0]["fix"]
    assert not Path("out/results.json").exists()
    assert call(*predict, "--save", "json", "--classes-map", "Red=red")[0] == 0
    assert {(e["category_id"], e["category"]) for e in entries("out/results.json")} <= {(2, "Red"), (7, "green")}
    assert call(*predict, "--save", "csv")[0] == 0  # no ids in there


def test_weights_without_names_are_taken_in_order_and_that_is_said(sets, weights, call):
    predict = ("predict", "usual_val", "--weights", weights(None), "--out", "out", "--threshold", 0, "--save", "json")
    code, _, err = call(*predict)
    assert code == 0
    assert "do not name their classes" in err
    assert call(*predict, "--classes-map", "0=green,1=red")[0] == 0
    assert all((e["category_id"] == 7) == (e["category"] == "0") for e in entries("out/results.json"))


def test_scores_do_not_depend_on_the_order_of_classes_in_the_data_set(sets, weights, call):
    path, found = weights(["red", "green"]), {}
    for name in IDS:
        code, out, err = call("eval", path, "--data", f"{name}_val", "--json")
        assert code == 0, err
        content = json.loads(out.strip().splitlines()[-1])
        named = [(IDS[name][e["category_id"]], e["score"], e["segmentations"]) for e in entries(content["results"])]
        found[name] = (content["AP"], content["per_class"], sorted(named, key=str))
    assert found["usual"] == found["turned"]
    assert found["usual"][2]


def test_scores_on_other_classes_are_refused_unless_paired(sets, weights, call):
    path = weights(["red", "blue"])
    code, out, err = call("eval", path, "--data", "turned", "--json")
    assert (code, out) == (2, "")
    assert "only in the weights of mine: 'blue'; only in the data set: 'green'" in blocks(err)[0]["error"]
    assert call("eval", path, "--data", "turned", "--classes-map", "blue=green", "--json")[0] == 0
    code, _, err = call("eval", path, "--data", "turned", "--classes-map", "blue")
    assert (code, "not a pair" in err) == (2, True)


def stage(tmp_path, name, classes, data="usual_val"):
    """A finished step 3 of a run that knows these classes."""
    folder = tmp_path / "runs" / name / "3"
    folder.mkdir(parents=True)
    config = stage_to_dict(dataclasses.replace(CONFIG, data=dataclasses.replace(DATA, val=DataSource(data))))
    order = {"config": config, "root": str(tmp_path / "root"), "key": name, "parent": None}
    (folder / "stage.json").write_text(json.dumps(order))
    metrics = {"AP": 50.0, "AP50": 60.0, "AP75": 40.0, "AR1": 50.0, "AR10": 50.0}
    (folder / "state.json").write_text(json.dumps({"status": "done", "metrics": metrics}))
    save_weights(folder / "weights.safetensors", {}, to_metadata(CONFIG, classes))
    (folder / "results.json").write_text("[]")


def test_runs_of_other_classes_do_not_compare(sets, call, tmp_path):
    stage(tmp_path, "a", ["red", "green"])
    stage(tmp_path, "b", ["green", "red"], data="turned_val")
    stage(tmp_path, "c", ["red", "blue"])
    assert call("compare", "a", "b")[0] == 0
    code, out, err = call("compare", "a", "c")
    assert (code, out) == (2, "")
    assert "only in step 3 of a: 'green'; only in step 3 of c: 'blue'" in blocks(err)[0]["error"]


def test_a_mean_over_sets_of_one_name_and_other_classes_is_refused(sets, call, tmp_path):
    stage(tmp_path, "a", ["red", "green"])
    stage(tmp_path, "b", ["red", "green"])
    assert call("eval", "a", "b", "--json")[0] == 0
    other = json.loads((tmp_path / "usual.json").read_text())
    other["categories"][1]["name"] = "blue"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/blue.json").write_text(json.dumps(other))
    part = "{frames: ../frames, annotations: blue.json}"
    (tmp_path / "elsewhere/usual.yaml").write_text(f"kind: vis\nval: {part}\n")
    path = tmp_path / "runs/b/3/stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"root": str(tmp_path / "elsewhere")}))
    code, out, err = call("eval", "a", "b", "--json")
    assert (code, out) == (2, "")
    assert "'green'" in blocks(err)[0]["error"]
    assert "'blue'" in blocks(err)[0]["error"]


def test_published_weights_take_the_names_of_the_recipe_that_the_data_names(weights, call, tmp_path):
    from idolctl.evaluation.targets import find_target

    config = tiny_config(num_classes=25)
    torch.save({"model": ours_to_published(build_model(config).state_dict(), config)}, tmp_path / "theirs.pth")
    target = find_target("theirs.pth", tmp_path / "runs", data="ovis")
    assert target.classes is not None
    assert (target.classes[0], target.classes[24]) == ("Person", "Vehical")


WILD = {
    "layers": ("model", "encoder_layers", 10**7),
    "heads": ("model", "heads", 0),
    "classes": ("model", "num_classes", 3),
    "batch": ("tracker", "batch_frames", -1),
    "mean": ("input", "pixel_mean", [1.0]),
}


@pytest.mark.parametrize("name", [*WILD, "deep", "names"])
@pytest.mark.parametrize("command", ["predict", "eval"])
def test_weights_with_an_invalid_recipe_or_class_list_are_refused(sets, weights, call, name, command):
    recipe = stage_to_dict(CONFIG)
    if name in WILD:
        part, key, value = WILD[name]
        recipe[part][key] = value
    names = {"names": ["red"], "classes": ["red", "green", "blue"]}.get(name, ["red", "green"])
    path = weights(names, "[" * 100_000 if name == "deep" else json.dumps(recipe))
    predict = ("usual_val", "--weights", path, "--save", "json")
    arguments = predict if command == "predict" else (path, "--data", "usual")
    code, out, err = call(command, *arguments)
    expected = 2 if (command, name) == ("eval", "classes") else 4  # the set has two classes, and the file says three
    assert (code, out) == (expected, "")
    assert set(blocks(err)[0]) == {"error", "where", "fix"}
    assert "Traceback" not in err


def test_two_categories_of_one_name_have_a_row_each(call, tmp_path):
    masks = [box(2, 2, 8, 8)] * 3
    content = truth([(1, 4, masks, {}), (1, 9, masks, {})])
    for category in content["categories"]:
        category["name"] = "cat"
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps([result(1, 9, 0.9, masks)]))
    arguments = ("eval", "--results", "results.json", "--annotations", "truth.json")
    code, out, _ = call(*arguments, "--identity", "--json")
    content = json.loads(out.strip().splitlines()[-1])
    found = content["per_class"]
    assert code == 0
    assert content["identity"]["per_class"].keys() == found.keys()
    assert {name: figures["AP"] for name, figures in found.items()} == {
        "cat (id 4)": 0,
        "cat (id 9)": pytest.approx(100),
    }
    assert {"cat (id 4)", "cat (id 9)"} <= {line.split("  ")[0] for line in call(*arguments)[1].splitlines()}
