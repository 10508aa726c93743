"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports torch: results depend on it in their last digits, and speed on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that holds the toy set, made once per test run, whatever the number of its processes."""
    from idol_core.data.toy.make import make_toy

    root = shared_folder(tmp_path_factory, "toy-root")
    make_toy(root)  # one makes it, the others wait
    return root
