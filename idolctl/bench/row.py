"""One line of the table."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A figure that was measured, or why it was not."""

    part: str  # heading of the line
    what: str
    value: float | None  # None: not measured, `note` says why
    unit: str
    memory_mib: float | None = None  # peak, of a GPU
    share: float | None = None  # of the device's measured matmul rate (or bandwidth, for the operator), 0..1
    note: str = ""


def as_lines(rows: list[Row]) -> list[str]:
    """Format rows of one part as aligned lines under its heading."""
    width = max(len(row.what) for row in rows)
    lines = [f"{rows[0].part:{width + 2}s} {'':>15s} {'MiB':>7s} {'share':>6s}"]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.4g}"
        memory = "" if row.memory_mib is None else f"{row.memory_mib:.0f}"
        share = "" if row.share is None else f"{row.share:.1%}"
        lines.append(f"  {row.what:{width}s} {value:>8s} {row.unit:6s} {memory:>7s} {share:>6s}  {row.note}".rstrip())
    return lines
