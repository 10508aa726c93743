"""List the image files of a folder in the order of their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".avif", ".tif", ".tiff")


def images_in(folder: Path) -> list[Path]:
    """Image files of a folder, frame2 before frame10; hidden ones (such as a Mac's `._0.jpg`) are left out."""
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return in_order(path for path in visible if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by name, comparing numbers in them by value."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", str(path))
        return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]

    return sorted(paths, key=key)
