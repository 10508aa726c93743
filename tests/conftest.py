"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that holds the toy set, made once per test run."""
    from idol_core.data.toy.make import make_toy

    root = tmp_path_factory.mktemp("data")
    make_toy(root)
    return root
