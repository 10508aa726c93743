"""Names of image files as label files give them: relative, with `/`, and never out of the folder they belong to."""

from __future__ import annotations

import os
import posixpath
from pathlib import PurePosixPath

_MOST_BYTES = 2048  # of a name with its folders; file systems hold 255 of each part


def inner_name(name: str, *, below: str = "") -> str:
    r"""Clean up a file's name: `\` becomes `/`, `a/../b` becomes `b`; `below` is the folder that it is relative to.

    Raises ValueError for an absolute path, a drive, or one that leaves the folder that all names start from.
    """
    plain = name.replace("\\", "/")
    cleaned = posixpath.normpath(posixpath.join(below, plain))
    if plain.startswith("/") or plain[1:2] == ":" or cleaned == ".." or cleaned.startswith("../"):
        raise ValueError(f"the file name '{name[:200]}' leads out of the folder")
    if len(os.fsencode(cleaned)) > _MOST_BYTES or any(len(os.fsencode(p)) > 255 for p in cleaned.split("/")):
        raise ValueError(f"the file name '{name[:100]}...' is too long")
    if cleaned in (".", "") or plain.endswith("/"):
        raise ValueError(f"'{name[:200]}' is no file name")
    return PurePosixPath(cleaned).as_posix()
