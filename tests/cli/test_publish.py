"""Publishing a run: to a folder, and to a Hugging Face hub on loopback that others then load it from."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

from idol_core import VideoSegmenter
from idol_core.build import build_model
from idol_core.config import DataConfig, DataSource, StageConfig, stage_to_dict
from idol_core.errors import InvalidInput, NetworkError
from idol_core.inference.pretrained import open_pretrained
from idol_core.metadata import to_metadata
from idol_core.system.cache import cache_folder
from idol_core.system.files import write_json
from idol_core.weights import save_weights
from tests.cli.conftest import blocks
from tests.cli.test_hub import hub  # noqa: F401
from tests.unit.tiny import tiny_config

FILES = ["README.md", "recipe.yaml", "scores.json", "weights.safetensors"]
CLASSES = ("fox", "car | van\n# x", "<b>", "d", "e")


@pytest.fixture
def run(tmp_path):
    """A finished step 3 in runs/mine, whose settings name files of this machine."""
    source = DataSource("", "vis", str(tmp_path / "secret/frames"), str(tmp_path / "secret/a.json"))
    config = StageConfig("mine", "tiny", 3, model=tiny_config(num_classes=5), init=str(tmp_path / "secret/w.pth"),
                         data=DataConfig(train=source, val=source))  # fmt: skip
    folder = tmp_path / "runs" / "mine" / "3"
    metadata = to_metadata(config, CLASSES)
    save_weights(folder / "weights.safetensors", build_model(config.model).state_dict(), metadata)
    order = {"key": "k", "identity": {"settings": {}}, "config": stage_to_dict(config), "root": str(tmp_path)}
    write_json(folder / "stage.json", order)
    scores = {"AP": 41.26, "AP50": 60.0, "AP75": 40.0, "AR1": 30.0, "AR10": 50.0}
    write_json(folder / "state.json", {"status": "done", "phase": "evaluate", "iteration": 9, "metrics": scores})
    return config


def test_a_folder_has_weights_recipe_scores_and_card_and_no_path_of_this_machine(call, run, tmp_path):
    code, _, err = call("publish", "mine", "--to", "out", "--license", "cc-by-4.0")
    assert code == 0, err
    folder = tmp_path / "out"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "recipe.yaml",
        "scores.json",
        "weights.safetensors",
    ]
    for path in folder.iterdir():
        assert b"secret" not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()
    opened = open_pretrained(folder / "weights.safetensors")
    assert opened.classes == CLASSES
    assert opened.recipe.model == run.model
    card = (folder / "README.md").read_text()
    front = YAML(typ="safe").load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["model-index"][0]["results"][0]["metrics"][0] == {"type": "AP", "value": 41.26}
    assert "| measured on its validation set | 41.3 |" in card
    assert "car \\| van # x, &lt;b>" in card
    assert YAML(typ="safe").load(folder / "recipe.yaml")["model"]["num_classes"] == 5
    assert json.loads((folder / "scores.json").read_text())["measured"]["AP"] == 41.26
    assert call("publish", "mine", "--to", "out")[0] == 0  # again, over itself
    (folder / "notes.txt").write_text("mine")
    code, _, err = call("publish", "mine", "--to", "out")
    assert (code, "other files: notes.txt" in blocks(err)[0]["error"]) == (2, True)


def test_what_is_published_on_the_hub_is_loaded_by_name(call, run, hub, monkeypatch):  # noqa: F811
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the loopback hub speaks Git LFS
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    code, _, err = call("publish", "mine", "--to", "hf:me/foxes")
    assert code == 0, err
    assert sorted(hub.files) == [f"me/foxes/{name}" for name in FILES]
    assert b'from_pretrained("hf:me/foxes")' in hub.files["me/foxes/README.md"]
    segmenter = VideoSegmenter.from_pretrained("hf:me/foxes")
    assert segmenter.classes == CLASSES
    requests = len(hub.seen)
    code, out, err = call("fetch", "hf:me/foxes")
    assert (code, out.splitlines()[0].endswith("weights.safetensors")) == (0, True), err
    assert len(hub.seen) == requests + 1  # asked for the commit, and nothing more
    hub.commit = "f" * 40  # a new version
    assert call("fetch", "hf:me/foxes")[0] == 0
    assert len(list((cache_folder() / "hub/me/foxes").glob("*/weights.safetensors"))) == 2
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # no hub answers
    VideoSegmenter.from_pretrained("hf:me/foxes")
    with pytest.raises(NetworkError):
        VideoSegmenter.from_pretrained("hf:me/foxes@other")
    code, _, err = call("predict", "x.mp4", "--weights", "hf:me/owls")
    assert (code, blocks(err)[0]["fix"]) == (3, "idolctl fetch hf:me/owls")


@pytest.mark.parametrize(("status", "fix"), [(401, "hf auth login"), (403, "hf auth login"), (400, "try again later")])
def test_a_hub_that_refuses_is_an_error_of_three_lines(call, run, hub, monkeypatch, status, fix):  # noqa: F811
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.refuses = status
    code, _, err = call("publish", "mine", "--to", "hf:me/foxes")
    assert (code, blocks(err)[0]["fix"].startswith(fix)) == (5, True), err
    assert "hf_secret" not in err


def test_what_can_not_be_published_is_refused(call, run, tmp_path):
    for words, said in (
        (("ovis-r50", "--to", "out"), "published already"),
        (("mine", "--to", "hf:me/foxes@main"), "without revision"),
        (("mine", "--to", "hf:foxes"), "names no file"),
        (("mine", "--to", "out", "--license", "a\nb"), "no licence"),
    ):
        code, _, err = call("publish", *words)
        assert (code, said in blocks(err)[0]["error"]) == (2, True), err
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidInput, match="no weights file"):
        VideoSegmenter.from_pretrained("hf:me/foxes/README.md")
