"""The reader of metrics.jsonl, a line of JSON for every report of a stage.

    training lines   iteration, loss, losses {name: value}, it_per_s, data_wait, memory_mib, lr, grad_norm
    events           {"event": "start" | "warning", "text"}, {"event": "read" | "evaluate", "done", "total"},
                     {"event": "evaluated", "iteration", "metrics"}, {"event": "resumed", "iteration"}

A line that is none of these (cut short by a kill, bytes that are no UTF-8, wrong types) is passed over everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from idol_core.engine.stage_files import number, numbers, text, whole
from idol_core.system.files import parse_object

RESUMED = "resumed"  # the event of the line behind which the lines of a later session begin
LONGEST = 1 << 20  # bytes; what is longer is no line of ours
_TEXTS, _COUNTS, _ITERATIONS = ("start", "warning"), ("read", "evaluate"), ("evaluated", RESUMED)


class Line(NamedTuple):
    """A line of the file: its bytes with the line end, and what it says (None: not one of ours)."""

    raw: bytes
    values: dict[str, Any] | None


def read_lines(path: Path) -> Iterator[Line]:
    """All lines of metrics.jsonl, none where there is no such file."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        whole_before = True
        while raw := file.readline(LONGEST):
            ends = raw.endswith(b"\n")
            yield Line(raw, parse_line(raw) if ends and whole_before else None)
            whole_before = ends


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """What a line says, with fields of the right types alone; None where it is no line of ours."""
    found = parse_object(raw)
    if not found:
        return None
    event = found.get("event")
    if event is None:
        return _training(found)
    if event in _TEXTS:
        return {"event": event, "text": text(found["text"])} if isinstance(found.get("text"), str) else None
    if event in _COUNTS:
        done, total = whole(found.get("done"), -1), whole(found.get("total"), -1)
        return {"event": event, "done": done, "total": total} if min(done, total) >= 0 else None
    if event in _ITERATIONS and (iteration := whole(found.get("iteration"), -1)) >= 0:
        return {"event": event, "iteration": iteration, "metrics": numbers(found.get("metrics"))}
    return None


def _training(found: dict[str, Any]) -> dict[str, Any] | None:
    iteration, loss = whole(found.get("iteration"), -1), number(found.get("loss"))
    if iteration < 0 or loss is None:
        return None
    line: dict[str, Any] = {name: v for name in found if (v := number(found[name])) is not None}
    return line | {"iteration": iteration, "loss": loss, "losses": numbers(found.get("losses")) or {}}
