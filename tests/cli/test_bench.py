"""`idolctl bench` on a CPU: every part gives a figure; what a CPU can't do is refused."""

from __future__ import annotations

import json

import pytest

from idolctl.app import main
from tests.cli.conftest import blocks


def test_a_quick_run_measures_every_part(tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert main(["bench", "--quick", "--device", "cpu", "--json", str(file)]) == 0
    table, found = capsys.readouterr().out, json.loads(file.read_text())
    assert found["about"]["device"].startswith("CPU")
    assert [row["part"] for row in found["rows"]] == [
        *["machine"] * 2, *["operator"] * 4, "inference", "training",
    ]  # fmt: skip
    for row in found["rows"]:
        assert row["value"] > 0, row
        assert row["what"] in table
    shares = [row["share"] for row in found["rows"][2:]]
    assert all(0 < share < 2 for share in shares), shares  # a machine that others use may do better the second time
    assert all("x grid_sample" in row["note"] for row in found["rows"] if row["part"] == "operator")


@pytest.mark.parametrize(
    ("options", "where"), [(["--against", "."], "--against"), (["--device", "toaster"], "--device")]
)
def test_what_can_not_be_measured_here_is_refused(options, where, capsys):
    assert main(["bench", "--device", "cpu", *options]) == 2
    (told,) = blocks(capsys.readouterr().err)
    assert told["where"] == where
