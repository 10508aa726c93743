"""`idolctl doctor`: what is installed, what each extra would add, where things are and how much room is left."""

from __future__ import annotations

import json
import tomllib

import pytest

from idolctl.extras import EXTRAS, lacking, require_extra
from tests.cli.conftest import CHECKOUT, blocks


def test_the_extras_are_those_of_the_package():
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    del declared["dev"]
    assert {name: {req.split("@")[0].split(">")[0].strip() for req in reqs} for name, reqs in declared.items()} == {
        name: set(extra.packages) for name, extra in EXTRAS.items()
    }


def test_the_doctor_tells_extras_devices_and_places(call, tmp_path):
    (tmp_path / "runs").mkdir()
    code, out, _ = call("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["extras"]["export"].startswith("here: idolctl export")
    assert (
        "pip install 'idolctl[detectron2]'" in found["extras"]["detectron2"] or "here:" in found["extras"]["detectron2"]
    )
    assert found["devices"]["attention on the CPU"].startswith(("C code", "torch"))
    assert found["places"]["runs"].startswith(str(tmp_path / "runs"))
    assert found["places"]["data root"].endswith("not there yet)")
    assert "free" in found["places"]["cache of weights"]
    require_extra("export", where="here")


def test_a_tracker_that_is_not_known_or_not_installed_is_refused_before_anything_starts(call, tmp_path):
    code, _, err = call("run", "toy", "--log", "tensorboard,wanbd")
    assert (code, blocks(err)[0]["fix"]) == (2, "did you mean 'wandb'?")
    absent = next((name for name in ("trackio", "mlflow", "wandb") if lacking(name)), None)
    if absent is None:
        pytest.skip("all trackers are installed")
    code, _, err = call("run", "toy", "--log", absent)
    assert (code, blocks(err)[0]["fix"]) == (3, f"pip install 'idolctl[{absent}]'")
    assert not list(tmp_path.iterdir())
