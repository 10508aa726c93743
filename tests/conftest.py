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


# Of the toy set's training part: what is drawn with a number depends on that number alone, so these are its first.
TOY_VIDEOS, TOY_IMAGES = 8, 16


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that holds the toy set, its training part cut short; made once per test run by one process."""
    from idol_core.data.toy import make

    root = shared_folder(tmp_path_factory, "toy-root")
    videos, images = make.VIDEOS | {"train": TOY_VIDEOS}, make.IMAGES | {"train": TOY_IMAGES}
    make.make_toy(root, videos=videos, images=images)  # one makes it, the others wait
    return root
