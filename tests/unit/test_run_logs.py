"""Numbers in experiment trackers, read back from the files that their offline modes write."""

from __future__ import annotations

import json
import sqlite3
import struct

import pytest

from idol_core.engine.journal import Journal
from idol_core.errors import IdolError


def two_sessions(folder, kind):
    """A stage that is stopped after iteration 30, resumed from its checkpoint of iteration 20, and done at 40."""
    folder.mkdir(parents=True)
    settings = {"solver.lr": 1e-4, "input.short_sides": [64]}
    for start, stop, done in ((0, 30, False), (20, 40, True)):
        journal = Journal(folder, iterations=40, log=(kind,), settings=settings)
        journal.resume_at(start)
        for iteration in range(start + 10, stop + 1, 10):
            journal.line(iteration=iteration, loss=100.0 / iteration, losses={"mask": 0.5})
            if iteration == 30:
                journal.line(event="evaluated", iteration=30, metrics={"AP": 12.5})
        if done:
            journal.state("done", phase="evaluate", iteration=40, metrics={"AP": 20.0})
        journal.close(done=done)
    return folder


EXPECTED = {"train/loss": [(10, 10.0), (20, 5.0), (30, 100 / 30), (40, 2.5)], "scores/AP": [(30, 12.5), (40, 20.0)]}


def test_tensorboard_has_every_iteration_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(two_sessions(tmp_path / "run" / "1", "tensorboard") / "tensorboard")).Reload()
    for name, values in EXPECTED.items():
        assert [(e.step, e.value) for e in found.Scalars(name)] == [(s, pytest.approx(v)) for s, v in values]


def test_mlflow_has_one_run_with_every_iteration_once(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    two_sessions(tmp_path / "run" / "1", "mlflow")
    client = MlflowClient(f"file:{tmp_path / 'mlruns'}")
    (run,) = client.search_runs([client.get_experiment_by_name("idolctl").experiment_id])
    assert (run.info.status, run.info.run_name, run.data.params["solver.lr"]) == ("FINISHED", "run 1", "0.0001")
    for name, values in EXPECTED.items():
        assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] == values


def test_wandb_has_one_run_with_every_iteration_once(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = two_sessions(tmp_path / "run" / "1", "wandb")
    found = {name: [] for name in EXPECTED}
    files = sorted(path for path in folder.glob("wandb/offline-run-*/*.wandb"))
    assert len({path.stem for path in files}) == 1  # named after the run's id
    for path in files:
        for content in leveldb_records(path.read_bytes()[7:]):
            record = wandb_internal_pb2.Record.FromString(content)
            values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            for name in values.keys() & EXPECTED.keys():
                found[name].append((int(values["iteration"]), float(values[name])))
    assert found == EXPECTED


def leveldb_records(content):
    """Records of LevelDB's log format: blocks of 32 KiB, in them pieces of [checksum, length, kind, bytes]."""
    place, kept = 0, b""
    while place + 7 <= len(content):
        left = 32768 - (place + 7) % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        kept = (kept if kind in (3, 4) else b"") + content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield kept


def test_trackio_has_one_run_with_every_iteration_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    two_sessions(tmp_path / "run" / "1", "trackio")
    (path,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(path) as base:
        rows = base.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert len({name for name, _, _ in rows}) == 1
    for name, values in EXPECTED.items():
        assert [(s, json.loads(m)[name]) for _, s, m in rows if name in json.loads(m)] == values


def test_a_tracker_that_does_not_open_stops_a_new_stage_and_only_warns_a_resumed_one(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("no folder")
    with pytest.raises(IdolError, match="tensorboard can't be opened") as caught:
        Journal(tmp_path, iterations=9, log=("tensorboard",)).resume_at(0)
    assert caught.value.where == "--log tensorboard"
    journal = Journal(tmp_path, iterations=9, log=("tensorboard",))
    journal.resume_at(5)
    journal.line(iteration=6, loss=1.0)
    journal.close(done=True)
    assert "training goes on without it" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_text().count('"iteration": 6') == 1


def test_an_odd_run_logs_file_is_replaced(tmp_path):
    for content in ("[", '{"id": 5, "sent": []}', '{"id": "x", "sent": {"wandb": ["a", null], "y": 3}}', "[" * 9999):
        (tmp_path / "run-logs.json").write_text(content)
        Journal(tmp_path, iterations=9, log=("tensorboard", "tensorboard")).resume_at(1)
