"""Read metrics.jsonl: one line of JSON for each report of a stage.

    training lines   iteration, loss, losses {name: value}, it_per_s, data_wait, memory_mib, lr, grad_norm
    events           {"event": "start" | "kept" | "warning", "text"}, {"event": "read" | "evaluate", "done", "total"},
                     {"event": "evaluated", "iteration", "metrics"}, {"event": "resumed", "iteration"}

Any other line (cut short by a kill, not UTF-8, wrong types) is skipped by every reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from idol_core.engine.stage_files import number, numbers, text, whole
from idol_core.system.files import parse_object

RESUMED = "resumed"  # event that marks the start of a resumed session
LONGEST = 1 << 20  # bytes; longer lines are skipped
_TEXTS, _COUNTS, _ITERATIONS = ("start", "kept", "warning"), ("read", "evaluate"), ("evaluated", RESUMED)


class Line(NamedTuple):
    """A line of the file: its bytes with the line end, and its parsed values (None: not a valid line)."""

    raw: bytes
    values: dict[str, Any] | None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield all lines of metrics.jsonl; none if there is no such file."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        whole_before = True
        while raw := file.readline(LONGEST):
            ends = raw.endswith(b"\n")
            yield Line(raw, parse_line(raw) if ends and whole_before else None)
            whole_before = ends


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """Parse a line, keeping only fields of the right type; None if the line is not valid."""
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
