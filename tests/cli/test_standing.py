"""What status, ls runs, logs and compare say about folders as workers and Slurm leave them."""

from __future__ import annotations

import json
import os

import pytest

from idol_core.config import StageConfig, stage_to_dict
from tests.cli.conftest import blocks


def leave(folder, *, step=1, lr=1e-4, status="done", ap=None, log=(), lines=(), error=None):
    """A stage's files."""
    (folder / "logs").mkdir(parents=True)
    config = stage_to_dict(StageConfig("toy", "tiny", step))
    config["solver"] |= {"lr": lr, "iterations": 40}
    order = {"key": "", "config": config, "parent": None, "identity": {"settings": {}, "train": "a", "val": "b"}}
    (folder / "stage.json").write_text(json.dumps(order))
    metrics = None if ap is None else {"AP": ap, "AP50": ap + 10}
    reached = 40 if status == "done" else 20
    state = {"status": status, "phase": "train", "iteration": reached, "iterations": 40, "seconds": 75.0}
    (folder / "state.json").write_text(json.dumps(state | {"metrics": metrics, "error": error}))
    if status == "done":
        (folder / "weights.safetensors").write_bytes(b"")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for rank, text in enumerate(log):
        (folder / "logs" / f"rank{rank}.log").write_text(text)


@pytest.fixture
def home(tmp_path):
    runs = tmp_path / "runs"
    leave(runs / "a" / "1", ap=20.0, log=("first\nsecond\nthird\n", "of rank one\n"))
    line = {"iteration": 23, "loss": 1.5, "it_per_s": 2.0, "data_wait": 0.25}
    leave(runs / "a" / "1-2", step=2, status="running", lines=(line, {"event": "evaluate", "done": 1, "total": 2}))
    error = {"what": "the loss is not finite", "where": "w", "fix": "f", "exit_code": 1}
    leave(runs / "b" / "1", lr=2e-4, ap=22.5, status="done")
    leave(runs / "b" / "1-3", step=3, status="failed", error=error)
    return tmp_path


def test_status_of_all_runs(home, idolctl):
    told = idolctl("status", "--json")
    stages = {(s["run"], s["stage"]): s for s in json.loads(told.stdout)["stages"]}
    assert stages["a", "1"]["status"] == "done"
    assert (stages["a", "1"]["iteration"], stages["a", "1"]["AP"]) == (40, 20.0)
    killed = stages["a", "1-2"]
    assert (killed["status"], killed["iteration"], killed["loss"], killed["left"]) == ("killed", 23, 1.5, None)
    assert stages["b", "1-3"]["error"] == "the loss is not finite"
    text = idolctl("status", "b").stdout
    assert "b/1-3: the loss is not finite" in text
    assert "killed" not in text


def test_status_of_a_run_that_runs(home, idolctl):
    import socket

    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": "now"}
    (home / "runs" / "a" / ".holder.json").write_text(json.dumps(holder))
    (_, running) = json.loads(idolctl("status", "a", "--json").stdout)["stages"]
    assert (running["status"], running["it_per_s"], running["data_wait"], running["left"]) == (
        "running",
        2.0,
        0.25,
        "0:08",
    )


def test_submitted_jobs_are_shown(home, idolctl):
    jobs = [{"stage": c, "job": str(7 + i), "cluster": "local", "submitted": "now"} for i, c in enumerate(("1", "1-3"))]
    (home / "runs" / "c").mkdir()
    (home / "runs" / "c" / "jobs.json").write_text(json.dumps(jobs))
    stages = json.loads(idolctl("status", "c", "--json").stdout)["stages"]
    assert [(s["stage"], s["status"], s["job"]) for s in stages] == [("1", "submitted", "7"), ("1-3", "submitted", "8")]


def test_jobs_that_slurm_holds_are_shown_as_it_says(home, idolctl):
    """`squeue` as Slurm's answers: one job waits, of another it knows nothing any more."""
    programs = home / "programs"
    programs.mkdir()
    (programs / "squeue").write_text('#!/bin/sh\ncase "$*" in *"--jobs 7"*) echo PENDING;; *) exit 1;; esac\n')
    (programs / "squeue").chmod(0o755)
    runs = home / "runs" / "c"
    leave(runs / "1", status="stopped")
    leave(runs / "1-2", step=2, status="running")
    jobs = [{"stage": c, "job": j, "cluster": "slurm", "submitted": "now"} for c, j in (("1", "7"), ("1-2", "8"))]
    (runs / "jobs.json").write_text(json.dumps(jobs))
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    stages = json.loads(idolctl("status", "c", "--json", PATH=path).stdout)["stages"]
    assert [(s["stage"], s["status"], s["job"]) for s in stages] == [("1", "pending", "7"), ("1-2", "killed", "8")]
    stages = json.loads(idolctl("status", "c", "--json", PATH="/nowhere").stdout)["stages"]
    assert [s["status"] for s in stages] == ["stopped", "killed"]


def test_runs_are_listed(home, idolctl):
    told = json.loads(idolctl("ls", "runs", "--json").stdout)["runs"]
    assert [(r["run"], r["steps"]) for r in told] == [("a", "1 done, 2 killed"), ("b", "1 done, 3 failed")]
    assert "idolctl run toy" in idolctl("ls", "runs", "--runs-dir", "elsewhere").stdout


ODD_STATES = {
    "types": '{"status": "done", "metrics": "x", "seconds": NaN, "error": "y"}',
    "error without fields": '{"status": "failed", "error": {"what": null}}',
    "error as list": '{"status": "failed", "error": [1], "metrics": {"AP": "x"}}',
    "list": "[1]",
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe{",
    "numbers": '{"status": "running", "seconds": 1e308, "iteration": -5, "iterations": 1e999, "phase": 7}',
}


def test_a_run_with_odd_files_hides_no_other(home, idolctl):
    """In one call of each command, as they are slow to start: many odd runs beside good ones."""
    runs = home / "runs"
    line = json.dumps({"iteration": 23, "loss": 1.5, "it_per_s": 1e-320, "data_wait": "x"}).encode() + b"\n"
    for number, content in enumerate(ODD_STATES.values()):
        stage = runs / f"odd{number}" / "1"
        leave(stage, status="running", lines=())
        (stage / "state.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        (stage / "metrics.jsonl").write_bytes(b"\xff\n[1]\n" + line + b'{"loss": {}}\n["loss"]\n{"iteration": null}\n')
        (stage.parent / ".holder.json").write_text(json.dumps({"pid": -1, "host": 7, "since": []}))
        (stage.parent / "jobs.json").write_text('{"a": 1}' if number % 2 else '[5, {"stage": 1}, {"job": "x"}]')
    (runs / "odd0" / ".holder.json").write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere"}))
    for number, order in enumerate(("[]", "{}", '{"config": {"step": "3"}}', '{"config": {"step": 9}}', "{" * 9)):
        stage = runs / f"none{number}" / "1-2-3"
        stage.mkdir(parents=True)
        (stage / "stage.json").write_text(order)
    (runs / "folder" / "3" / "stage.json").mkdir(parents=True)

    status, listed = idolctl("status", "--json"), idolctl("ls", "runs", "--json")
    assert (status.returncode, listed.returncode) == (0, 0), status.stderr + listed.stderr
    found = {(s["run"], s["stage"]): s for s in json.loads(status.stdout)["stages"]}
    unreadable = {run for (run, _), stage in found.items() if stage["status"] == "unreadable"}
    assert unreadable == {"folder", *(f"none{number}" for number in range(5))}
    assert {run for run, _ in found} == {"a", "b"} | {f"odd{n}" for n in range(len(ODD_STATES))} | unreadable
    assert found["a", "1"]["AP"] == 20.0
    assert found["odd0", "1"]["loss"] == 1.5
    assert all(s["seconds"] < 1e300 for s in found.values())
    assert {"a", "b", "odd0", "none0"} <= {row["run"] for row in json.loads(listed.stdout)["runs"]}

    for command in (("status",), ("status", "odd6", "none3"), ("compare", "odd1", "odd3"), ("compare", "none0", "a")):
        told = idolctl(*command)
        assert told.returncode == 0, (command, told.stderr)
    for command, code in ((("logs", "none1"), 4), (("eval", "none2"), 3), (("eval", "runs/none2/1-2-3"), 4)):
        told = idolctl(*command)
        assert told.returncode == code, (command, told.stderr)
        assert set(blocks(told.stderr)[0]) == {"error", "where", "fix"}


def test_logs_by_step_and_rank(home, idolctl):
    assert idolctl("logs", "a", "--step", "1", "--lines", "2").stdout == "second\nthird\n"
    assert idolctl("logs", "a", "--step", "1", "--rank", "1").stdout == "of rank one\n"
    missing = idolctl("logs", "a", "--step", "1", "--rank", "5")
    assert missing.returncode == 3
    assert "--rank 0, 1" in blocks(missing.stderr)[0]["fix"]
    assert idolctl("logs", "a", "--step", "3").returncode == 2


def test_compare_shows_what_differs(home, idolctl):
    first, second, third = json.loads(idolctl("compare", "a", "b", "--json").stdout)["steps"]
    assert first["settings"] == {"solver.lr": [1e-4, 2e-4]}
    assert first["metrics"]["AP"] == [20.0, 22.5]
    assert (second["only"], third["only"]) == (0, 1)
    text = idolctl("compare", "a", "b").stdout
    assert "+2.5" in text
    assert "step 3: only in b" in text
    assert idolctl("compare", "a", "bb").returncode == 2
