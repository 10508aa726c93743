"""The table of tolerances at the end of a run of `pytest tests/parity`, with what was measured beside each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parity.tolerances import MEASURED, TABLE, Worst

KEY = "tolerance"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    MEASURED.clear()
    try:
        return (yield)
    finally:
        item.user_properties += [(KEY, (about, *worst)) for about, worst in MEASURED.items()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    worst: dict[str, tuple[Worst, str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for key, value in getattr(report, "user_properties", ()):
                if key == KEY:
                    about, found = value[0], Worst(*value[1:])
                    worst[about] = max(worst.get(about, (found, "")), (found, report.nodeid.rpartition("/")[2]))
    if not worst:
        return
    terminalreporter.section("parity: worst error beside each tolerance")
    terminalreporter.line(f"{'':48s} {'tolerance':>36s} {'error':>9s} {'allowed':>9s} {'share':>6s}  where")
    for tolerance in TABLE:
        if tolerance.about in worst:
            (share, error, allowed), where = worst[tolerance.about]
            numbers = f"{tolerance!s:>36s} {error:9.1e} {allowed:9.1e} {share:6.1%}"
            terminalreporter.line(f"{tolerance.about:48s} {numbers}  {where}")
