"""`idolctl doctor`: what is installed, what each extra would add, where things are and how much room is left."""

from __future__ import annotations

import json
import tomllib

from idolctl.extras import EXTRAS, require_extra
from tests.cli.conftest import CHECKOUT


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
