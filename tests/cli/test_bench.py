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
    flops, bandwidth, *operator, frame, pair = found["rows"]
    # A share, its rate and the machine's rate give back the work, which no other process on the machine changes.
    moved = [row["share"] * row["value"] / 1e3 * bandwidth["value"] * 1e9 for row in operator]
    assert moved == pytest.approx([458_752, 786_432, 899_072, 1_490_944])  # bytes
    computed = [row["share"] / row["value"] * flops["value"] * 1e12 for row in (frame, pair)]
    assert computed == pytest.approx([1.30e9, 8.02e9], rel=0.05)  # floating point operations
    assert all("x grid_sample" in row["note"] for row in found["rows"] if row["part"] == "operator")


@pytest.mark.parametrize(
    ("options", "where"), [(["--against", "."], "--against"), (["--device", "toaster"], "--device")]
)
def test_what_can_not_be_measured_here_is_refused(options, where, capsys):
    assert main(["bench", "--device", "cpu", *options]) == 2
    (told,) = blocks(capsys.readouterr().err)
    assert told["where"] == where
