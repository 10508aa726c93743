"""What reaches a terminal: names and texts from elsewhere come as escapes, whatever prints them."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys

from idol_core.errors import Integrity
from idolctl.errors import Mistakes, report
from idolctl.terminal.progress import say, transfer
from idolctl.terminal.stage_display import PlainDisplay
from idolctl.terminal.table import table
from idolctl.terminal.text import escaped_output, printable
from tests.cli.conftest import CHECKOUT

EVIL = "x\x1b]0;title\x07\r\x9b2J\u202egpj.\udcff"
SHOWN = r"x\x1b]0;title\x07\r\x9b2J\u202egpj.\udcff"


def test_control_characters_are_shown_and_other_text_stays():
    assert printable(EVIL) == SHOWN
    assert printable("a\tb\nc") == r"a\tb\nc"
    assert printable("Mäuse, 猫, 🐈, \\x1b") == "Mäuse, 猫, 🐈, \\x1b"


def test_errors_keep_three_lines(capsys):
    error = Integrity(f"{EVIL} is damaged", where=f"{EVIL}\nfix: rm -rf /", fix=f"look at {EVIL}")
    assert report(Mistakes([error, Integrity("two\n  lines", where="", fix="")])) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"error: {SHOWN} is damaged", rf"where: {SHOWN}\nfix: rm -rf /", f"fix: look at {SHOWN}",
        "error: two lines", "where: -", "fix: -",
    ]  # fmt: skip


def test_tables_and_progress_are_escaped(capsys):
    assert table(("class", EVIL), [(EVIL, 1.0)]).splitlines()[1].startswith(SHOWN)
    say(EVIL)
    with transfer(EVIL) as line:
        line.update(5, 5)
    display = PlainDisplay("step 1", start=0, iterations=2)
    display.report({"event": "warning", "text": EVIL})
    told = capsys.readouterr().err
    assert told.count(SHOWN) == 3
    assert "\x1b" not in told
    assert "\r" not in told


def test_print_writes_no_control_characters_while_output_is_escaped(capsys):
    with escaped_output():
        print(EVIL, "name", end="\n\tnext\n")
        print(EVIL, file=sys.stderr)
        sys.stdout.writelines([EVIL])
    told = capsys.readouterr()
    assert told.out == f"{SHOWN} name\n\tnext\n{SHOWN}"
    assert told.err == f"{SHOWN}\n"


def test_a_terminal_that_lacks_a_character_gets_its_escape(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with escaped_output():
        print("Mäuse 猫")
    stream.flush()
    assert stream.buffer.getvalue() == rb"M\xe4use \u732b" + b"\n"


WATCH = """
import sys
from pathlib import Path
from idolctl.app import main
stage = Path(sys.argv[1]) / "x\\x1b]0;title\\x07" / "3"
stage.mkdir(parents=True)
order = '{"config": {"step": 3, "recipe": "r", "solver": {"iterations": 5}, "data": {"val": {"name": ""}}}}'
(stage / "stage.json").write_text(order)
main(["status", "--watch", "--runs-dir", sys.argv[1]])
"""


def test_a_live_table_moves_the_cursor_and_names_do_not(tmp_path):
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen([sys.executable, "-c", WATCH, str(tmp_path / "runs")], stdout=child, env=environment)
    os.close(child)
    seen = b""
    try:
        while rb"title\x07" not in seen and process.poll() is None:
            if select.select([parent], [], [], 1.0)[0]:
                seen += os.read(parent, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert rb"x\x1b]0;title\x07" in seen
    assert b"\x1b]0" not in seen
    assert b"\x1b[?25l" in seen  # the table hides the cursor
