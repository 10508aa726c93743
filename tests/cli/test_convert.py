"""`idolctl convert`: the original's layout to ours and back, and what it says of files that are not whole."""

from __future__ import annotations

import json
import os

import pytest
import safetensors
import torch

from idol_core.build import build_model
from idol_core.config import stage_from_dict
from idol_core.weights import ours_to_published
from idolctl.app import main
from tests.cli.conftest import blocks
from tests.unit.tiny import tiny_config

CONFIG = tiny_config()  # five classes, as the toy set has


@pytest.fixture
def published(tmp_path):
    """A checkpoint as the original writes it, and its state dict."""
    state = ours_to_published(build_model(CONFIG).state_dict(), CONFIG)
    torch.save({"model": state, "iteration": 3}, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth", state


def test_converting_there_and_back_keeps_the_recipe_in_the_metadata(idolctl, published, tmp_path):
    path, state = published
    done = idolctl("convert", path, "--to", "idolctl", "--out", "ours.safetensors", "--recipe", "toy")
    assert done.returncode == 0, done.stderr
    count = len(build_model(CONFIG).state_dict())
    assert done.stdout.splitlines()[:2] == [f"mapped {count} tensors, missing 0, unexpected 0", "ours.safetensors"]
    with safetensors.safe_open(tmp_path / "ours.safetensors", framework="pt") as stored:
        carried = stage_from_dict(json.loads(stored.metadata()["recipe"]))
    assert (carried.recipe, carried.step, carried.model.queries) == ("toy", 3, CONFIG.queries)
    out = tmp_path / "back.pth"
    assert main(["convert", str(tmp_path / "ours.safetensors"), "--to", "vnext", "--out", str(out)]) == 0
    back = torch.load(out, weights_only=True)["model"]
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_missing_tensors_are_listed_and_the_file_is_refused(published, tmp_path, capsys):
    path, state = published
    lacking = {name: tensor for name, tensor in state.items() if name != "detr.controller.layers.1.bias"}
    torch.save(lacking | {"detr.extra": torch.zeros(2)}, path)
    out = tmp_path / "ours.safetensors"
    assert main(["convert", str(path), "--to", "idolctl", "--out", str(out), "--recipe", "toy"]) == 4
    told = capsys.readouterr()
    assert told.out.splitlines()[0].endswith("missing 1, unexpected 1")
    assert "  missing: mask_head.controller.layers.1.bias" in told.out
    assert "  unexpected, left out: detr.extra" in told.out
    assert blocks(told.err)[0]["where"] == str(path)
    assert not out.exists()


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_usage_and_hostile_files(published, tmp_path, capsys):
    path, _ = published
    out = tmp_path / "ours.safetensors"
    arguments = ["convert", str(path), "--to", "idolctl", "--out", str(out)]
    assert main(arguments) == 2  # no published recipe has five classes
    assert "--recipe" in blocks(capsys.readouterr().err)[0]["fix"]
    torch.save({"model": Hostile(tmp_path / "marker")}, path)
    assert main([*arguments, "--recipe", "toy"]) == 4
    assert not (tmp_path / "marker").exists()
    out.write_bytes(b"kept")
    assert main(arguments) == 2
    assert blocks(capsys.readouterr().err)[-1]["fix"] == "--force replaces it"
    assert out.read_bytes() == b"kept"
