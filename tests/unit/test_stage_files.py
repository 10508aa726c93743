"""State files, whatever stands in them: what can't be read is absent, a field of the wrong type has its default."""

from __future__ import annotations

import json
import os

import pytest

from idol_core.engine.journal import Journal
from idol_core.engine.metrics_lines import parse_line, read_lines
from idol_core.engine.stage_files import (
    StageError,
    StageStatus,
    list_checkpoints,
    read_order,
    read_status,
    write_status,
)
from idol_core.errors import Integrity
from idol_core.system.files import read_array, read_object

DEEP = b"[" * 200_000 + b"]" * 200_000
NO_OBJECTS = {
    "empty": b"",
    "blank": b" \n",
    "half": b'{"status": "do',
    "list": b"[1, 2]",
    "text": b'"done"',
    "null": b"null",
    "not a number": b"NaN",
    "not utf-8": b'{"status": "\xff"}',
    "utf-16": '{"status": "done"}'.encode("utf-16"),
    "zeros": b"\0" * 5000,
    "deep": DEEP,
    "deep in an object": b'{"status": "done", "metrics": ' + DEEP + b"}",
    "a hundred levels": b'{"config": ' + b"[" * 100 + b"]" * 100 + b"}",
    "5000 digits": b'{"seconds": ' + b"1" * 5000 + b"}",
}
ODD_VALUES = [None, True, -1, 1.5, 1e308, 10**400, "x", "\ud800", [], [[]], {}, {"a": {}}, {"AP": "x"}]


def write(path, content: bytes):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", NO_OBJECTS.values(), ids=NO_OBJECTS.keys())
def test_a_file_without_a_json_object_counts_as_absent(tmp_path, content):
    assert read_object(write(tmp_path / "state.json", content)) == {}
    write(tmp_path / "stage.json", content)
    assert read_status(tmp_path) == StageStatus()
    assert read_order(tmp_path).settings == {}
    assert parse_line(content) is None


def test_folders_pipes_and_endless_files_count_as_absent(tmp_path):
    (tmp_path / "stage.json").mkdir()
    os.mkfifo(tmp_path / "state.json")
    assert read_status(tmp_path) == StageStatus()
    assert read_order(tmp_path).fingerprint == {}
    (tmp_path / "list.json").symlink_to("/dev/zero")
    assert read_array(tmp_path / "list.json") == []
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(1 << 40)
    assert read_object(tmp_path / "large.json") == {}


@pytest.mark.parametrize("value", ODD_VALUES, ids=range(len(ODD_VALUES)))
def test_any_value_in_any_field_is_read_as_one_of_its_type_or_its_default(tmp_path, value):
    names = ("status", "phase", "iteration", "iterations", "seconds", "metrics", "error")
    for name in names:
        (tmp_path / "state.json").write_text(json.dumps({"status": "done", "iterations": 7, name: value}))
        found = read_status(tmp_path)
        assert isinstance(found.status + found.phase, str)
        assert all(type(n) is int and n >= 0 for n in (found.iteration, found.iterations))
        assert 0 <= found.seconds < 1e300
        assert found.metrics is None or all(isinstance(v, float | int) for v in found.metrics.values())
        assert found.error is None or found.error.exit_code > 0
        assert name in ("status", "iterations") or (found.status, found.iterations) == ("done", 7)
        write_status(tmp_path, found)  # as JSON, without NaN
        assert read_status(tmp_path) == found
    for name in ("key", "identity", "config", "parent", "root"):
        (tmp_path / "stage.json").write_text(json.dumps({"key": "k", name: value}))
        order = read_order(tmp_path)
        assert (order.step, order.iterations, order.validates_on) == (0, 0, "")
        with pytest.raises(Integrity):
            order.config()


def test_nan_is_no_number(tmp_path):
    (tmp_path / "state.json").write_text(
        '{"seconds": NaN, "metrics": {"AP": Infinity, "AP50": 3}, "iterations": 1e999}'
    )
    assert read_status(tmp_path) == StageStatus(metrics={"AP50": 3})


def test_what_is_written_is_read(tmp_path):
    error = StageError("w", "where", "fix", exit_code=4, rank=1, final=True, traceback="Traceback")
    told = StageStatus("failed", "train", 3, 9, 1.5, {"AP": 12.0}, error)
    write_status(tmp_path, told)
    assert read_status(tmp_path) == told


def line(**values):
    return json.dumps(values).encode() + b"\n"


def test_foreign_lines_are_skipped(tmp_path):
    good = [line(iteration=1, loss=2.0), line(event="read", done=1, total=2), line(event="warning", text="w")]
    odd = [
        b"\xff\n", b"[1]\n", b"null\n", b'{"iteration": null}\n', b'{"iteration": 5, "loss": NaN}\n', b"{}\n", b"\n",
        line(iteration="1", loss=2.0), line(iteration=True, loss=1.0), line(iteration=3), line(iteration=3, loss="1"),
        line(event="warning"), line(event="evaluate", done=1), line(event="evaluated", metrics={}), line(event=[]),
        line(event="start", text=7), DEEP + b"\n", b'{"iteration": 9, "loss": 1, "x": "' + b"y" * (1 << 21) + b'"}\n',
    ]  # fmt: skip
    lines = [part for pair in zip(odd, good * 6, strict=True) for part in pair]
    path = write(tmp_path / "metrics.jsonl", b"".join(lines) + b'{"iteration": 2, "loss": 1')
    told = [found.values for found in read_lines(path) if found.values is not None]
    assert len(told) == 18
    assert told[:3] == [
        {"iteration": 1, "loss": 2.0, "losses": {}},
        {"event": "read", "done": 1, "total": 2},
        {"event": "warning", "text": "w"},
    ]


def test_a_resumed_journal_keeps_the_lines_of_ours_byte_for_byte(tmp_path):
    kept = line(iteration=1, loss=2.0) + line(event="start", text="from scratch") + b'{"iteration":2,  "loss": 1}\n'
    path = write(tmp_path / "metrics.jsonl", b"[1]\n" + kept + b"\xff\n" + line(iteration=9, loss=1.0) + b'{"iter')
    Journal(tmp_path, iterations=9).resume_at(5)
    assert path.read_bytes() == kept + line(event="resumed", iteration=5)
    before = path.stat().st_ino
    Journal(tmp_path, iterations=9).resume_at(5)
    assert path.stat().st_ino == before, "nothing was to be dropped"
    assert not Journal(tmp_path, iterations=9).has_evaluated(5)


def test_a_line_without_its_end_gets_no_other_on_it(tmp_path):
    path = write(tmp_path / "metrics.jsonl", line(iteration=1, loss=2.0)[:-1])
    journal = Journal(tmp_path, iterations=9)
    journal.resume_at(5)
    journal.warn("hear")
    assert [found.values["event"] for found in read_lines(path)] == ["resumed", "warning"]


def test_a_missing_folder_has_no_checkpoints(tmp_path):
    assert list_checkpoints(tmp_path / "none") == []
