"""Check for room on the disk before libraries write to it that end badly when it is full."""

from __future__ import annotations

import shutil
from pathlib import Path

from idol_core.errors import IdolError


def check_room(path: Path, needed: int) -> None:
    """Raise IdolError if less than `needed` bytes are free on the disk of a file that is to be written."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        what = f"{needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise IdolError(what, where=str(path.parent), fix="make room, or --out FILE on another disk")
