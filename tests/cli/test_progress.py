"""What a running stage shows: a live table on a terminal, plain lines elsewhere, warnings on both."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

from idolctl.launch.worker import run_worker
from idolctl.terminal.stage_display import PlainDisplay
from tests.cli.conftest import CHECKOUT

TRAINED = {"iteration": 40, "it_per_s": 2.5, "data_wait": 0.031, "memory_mib": 812.4, "lr": 2e-4, "grad_norm": 1.25}
LINES = [
    {"event": "start", "text": "from runs/1/weights.safetensors: transferred 190 tensors; re-initialised [embed_head]"},
    {**TRAINED, "loss": 3.5, "losses": {}},
    {"event": "warning", "text": "data loading is stalled: 60 s without iteration 41, that is v1/0.jpg"},
    {"event": "evaluated", "iteration": 40, "metrics": {"AP": 12.34, "AP50": 30.0}},
    {"event": "resumed", "iteration": 40},
    {"event": "kept", "text": "stopped after iteration 40 of 100; the weights of iteration 20 are kept, AP 13.0"},
]
LIVE = """
import json, sys
from idolctl.terminal.stage_display import make_display
display = make_display(2, start=0, iterations=100)
for line in json.loads(sys.argv[1]):
    display.report(line)
display.close()
"""


def test_plain_lines_say_everything(capsys):
    display = PlainDisplay("step 2", start=0, iterations=100)
    for line in LINES:
        display.report(line)
    assert capsys.readouterr().err.splitlines() == [
        "step 2  starting at iteration 0 of 100",
        "step 2  from runs/1/weights.safetensors: transferred 190 tensors; re-initialised [embed_head]",
        "step 2  train 40/100  loss 3.500  grad 1.25  lr 2.0e-04  wait 3.1%  memory 812 MiB  2.50 it/s  ETA 0:24",
        "step 2  warning: data loading is stalled: 60 s without iteration 41, that is v1/0.jpg",
        "step 2  iteration 40 scored  AP 12.3  AP50 30.0",
        "step 2  stopped after iteration 40 of 100; the weights of iteration 20 are kept, AP 13.0",
    ]


def test_a_terminal_shows_a_table():
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", LIVE, json.dumps(LINES)], stderr=child, env=environment)
    os.close(child)
    seen = b""
    with contextlib.suppress(OSError):  # once the other end is closed
        while more := os.read(parent, 65536):
            seen += more
    os.close(parent)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    rows = [row.split() for row in re.split(r"[\r\n]+", text)]
    assert ["loss", "grad", "lr", "wait", "memory", "it/s", "ETA"] in rows
    assert ["3.500", "1.25", "2.0e-04", "3.1%", "812", "MiB", "2.50", "0:24"] in rows
    assert any("train 40/100" in " ".join(row) for row in rows)
    assert "step 2  from runs/1/weights.safetensors" in text
    assert "re-initialised [embed_head]" in " ".join(text.split())
    assert "warning: data loading is stalled" in text
    assert "iteration 40 scored  AP 12.3" in text


WRITER = """
import sys
from pathlib import Path
from idol_core.engine.journal import Journal
journal = Journal(Path(sys.argv[1]), iterations=9)
journal.warn("checkpoint 9.pt is damaged")
journal.start_from("from scratch")
journal.resume_at(5)
for iteration in (6, 7):
    journal.line(iteration=iteration, loss=1.0)
journal.warn("data loading is stalled")
Journal(Path(sys.argv[1]), iterations=9, silent=True).warn("of another process")
"""


def test_a_resumed_session_is_followed_from_its_first_line(tmp_path):
    """Lines of earlier sessions, dropped or kept, are not shown again; none of this session is missed."""
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"iteration": i, "loss": 2.0}) + "\n" for i in range(4, 9)))
    seen: list[dict] = []
    writer = [sys.executable, "-c", WRITER, str(tmp_path)]
    code, received = run_worker(writer, tmp_path, on_report=seen.append, environment={"PYTHONPATH": str(CHECKOUT)})
    assert (code, received) == (0, None)
    assert [line.get("text", line.get("iteration")) for line in seen] == [
        "checkpoint 9.pt is damaged", "from scratch", 6, 7, "data loading is stalled", "of another process",
    ]  # fmt: skip
    kept = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["iteration"] for line in kept if "loss" in line] == [4, 5, 6, 7]
