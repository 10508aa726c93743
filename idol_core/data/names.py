"""Find files whose names differ from the requested ones only in case, Unicode form or slashes."""

from __future__ import annotations

import unicodedata
from pathlib import Path


def similar_file(path: Path) -> Path | None:
    r"""Find the existing file that `path` probably means: `Frames/É.JPG` for `frames\é.jpg`; None if there is none.

    Ignores case, compares in Unicode's composed form (macOS writes decomposed names) and treats `\` as `/`.
    """
    here = Path(path.anchor or ".")
    waiting = [part for part in path.parts if part != path.anchor][::-1]
    while waiting:
        part = waiting.pop()
        if (here / part).exists():
            here = here / part
        elif "\\" in part:
            waiting += [p for p in part.split("\\") if p][::-1]
        elif (there := _similar_entry(here, part)) is not None:
            here = here / there
        else:
            return None
    return here if here.is_file() else None


def _similar_entry(folder: Path, name: str) -> str | None:
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return None
    return next((entry for entry in entries if _plain(entry) == _plain(name)), None)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
