"""`idolctl import` and `--config-file`: configurations of the original on the command line."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import blocks
from tests.parity import kit


@pytest.fixture
def published(tmp_path):
    """A published configuration as a file."""
    path = tmp_path / "ytvis19_r50.yaml"
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(kit.document("configs")["ytvis19_r50.yaml"], file)
    return path


def test_import_writes_a_recipe_that_is_planned_like_the_file(idolctl, published, tmp_path):
    done = idolctl("import", published, "SOLVER.BASE_LR", "2e-4", "-o", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "note: OUTPUT_DIR" in done.stderr
    again = idolctl("import", published, "-o", "mine.yaml")
    assert (again.returncode, blocks(again.stderr)[0]["fix"]) == (2, "--force replaces it")
    assert idolctl("validate", "mine.yaml").returncode == 0
    plans = [
        idolctl("plan", "mine.yaml", "--json"),
        idolctl("plan", "--config-file", published, "SOLVER.BASE_LR", "2e-4", "--json"),
        idolctl("run", "--config-file", published, "--dry-run", "--json"),
    ]
    assert [p.returncode for p in plans] == [0, 0, 0]
    stages = [json.loads(p.stdout)["stages"] for p in plans]
    assert stages[0] == stages[1] == stages[2]
    assert [s["step"] for s in stages[0]] == [3]
    shown = json.loads(idolctl("show", "mine.yaml", "--json").stdout)["stages"][0]
    assert shown["config"]["solver"]["lr"] == 2e-4


def test_mistakes_are_reported_with_their_places(idolctl, published):
    done = idolctl("run", "--config-file", published, "SOLVER.MAX_ITR", "9")
    assert done.returncode == 2
    (error,) = blocks(done.stderr)
    assert error["where"] == "command line:SOLVER.MAX_ITR"
    assert error["fix"] == "did you mean 'SOLVER.MAX_ITER'?"


def test_negative_numbers_are_values(idolctl, published):
    for command in (("run", "--dry-run"), ("plan",)):
        done = idolctl(*command, "--config-file", published, "SEED", "-1", "--json")
        assert done.returncode == 0, done.stderr
    done = idolctl("import", published, "MODEL.BACKBONE.FREEZE_AT", "-3", "SOLVER.BASE_LR", "-.5")
    wheres = {block["where"]: block["error"] for block in blocks(done.stderr)}
    assert done.returncode == 2
    assert any("SOLVER.BASE_LR" in where for where in wheres), wheres
    assert "-1" in blocks(idolctl("run", "toy", "-1").stderr)[0]["error"]  # no KEY before it


@pytest.mark.parametrize("words", [[], ["toy", "ovis"], ["--config-file", "gone.yaml"]])
def test_a_command_line_without_a_valid_recipe_is_refused(idolctl, words):
    done = idolctl("run", *words)
    assert done.returncode == 2
    assert len(blocks(done.stderr)) == 1


def test_backbone_can_not_be_changed_beside_a_configuration_file(idolctl, published):
    done = idolctl("run", "--config-file", published, "--backbone", "r101")
    assert done.returncode == 2
    assert "MODEL.BACKBONE" in blocks(done.stderr)[0]["fix"]
