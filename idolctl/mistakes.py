"""Several mistakes reported at once, and the nearest known name for a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from idol_core.errors import IdolError


class Mistakes(IdolError):
    """All that is wrong with a recipe or lacks for a run; each with its own where and fix. Exit code: the first's."""

    def __init__(self, mistakes: Sequence[IdolError]) -> None:
        unique = list({(m.what, m.where): m for m in mistakes}.values())
        super().__init__("; ".join(m.what for m in unique), where=unique[0].where, fix=unique[0].fix)
        self.mistakes: list[IdolError] = unique
        self.exit_code = unique[0].exit_code


def raise_all(mistakes: Sequence[IdolError]) -> None:
    """Raise `Mistakes` if there is any."""
    if mistakes:
        raise Mistakes(mistakes)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    by_lower = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """A `fix:` line for an unknown name: the nearest one, or all there are."""
    names = sorted(known)
    close = nearest(name, names)
    return f"did you mean '{close}'?" if close else f"known: {', '.join(names) or 'none'}"
