"""Plain-text tables with aligned columns."""

from __future__ import annotations

from collections.abc import Sequence

from idolctl.terminal.text import printable


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows in aligned columns, numbers to the right; None is shown as '-'."""
    cells = [[_cell(value) for value in row] for row in rows]
    headers = [printable(header) for header in headers]
    widths = [max(len(c) for c in column) for column in zip(headers, *cells, strict=True)]
    numeric = [
        bool(rows) and all(isinstance(r[i], (int, float, type(None))) for r in rows) for i in range(len(headers))
    ]

    def line(values: Sequence[str]) -> str:
        padded = (v.rjust(w) if n else v.ljust(w) for v, w, n in zip(values, widths, numeric, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else printable(str(value))
