"""Format the page's tables for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from idol_core.evaluation.curves import calibration, calibration_error
from idolctl.report.analyze import Analysis
from idolctl.report.page import Table, error_tables, group_tables, identity_tables
from idolctl.report.subject import Subject
from idolctl.terminal.table import table

CONFUSED = 10  # most pairs of confused classes that are shown


def details_text(subject: Subject) -> str:
    """Tables of AP by group of objects, confused classes and score calibration."""
    if subject.analysis is None:
        return f"{subject.data} has no ground truth, so there are no details"
    found = subject.analysis
    tables = [*group_tables([subject]), *_confused(found), ("Right results by score", _calibration(found))]
    return f"{as_text(tables)}\n(calibration error {100 * calibration_error(calibration(found.scored)):.1f} %)"


def details_json(subject: Subject) -> dict[str, Any]:
    """The same as `details_text`, as JSON-serialisable data."""
    if subject.analysis is None:
        return {}
    found = subject.analysis
    return {
        "groups": {
            heading: [{"group": name, "objects": objects, **figures} for name, objects, figures in rows]
            for heading, rows in found.groups.items()
        },
        "confusion": {
            "classes": [found.categories[c] for c in found.confusion.categories],
            "matrix": found.confusion.matrix.tolist(),
            "threshold": found.threshold,
        },
        "calibration": {
            "error": calibration_error(calibration(found.scored)),
            "bins": [one._asdict() for one in calibration(found.scored)],
        },
    }


def side_by_side(subjects: Sequence[Subject]) -> str:
    """Tables that compare errors, identities and groups of several results, with a column or row per result."""
    return as_text([*error_tables(subjects), *identity_tables(subjects), *group_tables(subjects)])


def as_text(tables: Sequence[tuple[str, Table]]) -> str:
    """The tables as text with captions and aligned columns."""
    return "\n\n".join(f"{caption}\n{table(one.headers, one.rows)}" for caption, one in tables)


def _confused(found: Analysis) -> list[tuple[str, Table]]:
    """The pairs of classes that are confused most often, as a table with its caption."""
    names = [found.categories[c] for c in found.confusion.categories]
    matrix = found.confusion.matrix
    pairs = [
        (names[row], names[column], int(matrix[row, column]), int(matrix[row].sum()))
        for row in range(len(names))
        for column in range(len(names))
        if row != column and matrix[row, column]
    ]
    pairs.sort(key=lambda pair: -pair[2])
    if not pairs:
        return []
    return [("Classes taken for others", Table(("class", "taken for", "objects", "of"), pairs[:CONFUSED]))]


def _calibration(found: Analysis) -> Table:
    rows = [
        (f"{one.lower:.1f} to {one.upper:.1f}", one.results, 100 * one.right)
        for one in calibration(found.scored)
        if one.results
    ]
    return Table(("score", "results", "right, %"), rows)
