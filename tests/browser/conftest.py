"""Skips, saying so, what needs a browser where there is none."""

from __future__ import annotations

import pytest

from tests.browser.chromium import CHROMIUM


def pytest_collection_modifyitems(items):
    for item in items:
        if CHROMIUM is None and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason="chromium is not installed"))
