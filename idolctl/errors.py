"""Report errors to the user: three lines each on stderr, and an exit code."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence

from idol_core.errors import IdolError
from idolctl.terminal.text import printable

INTERRUPTED = 130
LONGEST = 2000  # maximum characters per line


def report(error: BaseException, *, debug: bool = False) -> int:
    """Print the `error`, `where` and `fix` lines of every mistake, and return the exit code."""
    if debug:
        traceback.print_exception(error)
    known = error if isinstance(error, IdolError) else _translated(error)
    for single in getattr(known, "mistakes", [known]):
        print(f"error: {_line(single.what)}", file=sys.stderr)
        print(f"where: {printable(single.where.strip()) or '-'}", file=sys.stderr)
        print(f"fix: {_line(single.fix) or '-'}", file=sys.stderr)
    return known.exit_code


def _translated(error: BaseException) -> IdolError:
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        where = str(error.filename or "")
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return IdolError(f"no room to write: {what}", where=where, fix="make room, or --runs-dir DIR elsewhere")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return IdolError(f"no access: {what}", where=where, fix=f"choose a folder that {_user()} may write to")
        return IdolError(what, where=where, fix="check that path, then run the command again")
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{last[0].filename}:{last[0].lineno}:{last[0].name}" if last else ""
    what = f"{type(error).__name__}: {error}"
    return IdolError(what, where=where, fix="run it again with --debug and report the traceback")


def _user() -> str:
    return os.environ.get("USER") or f"uid {os.getuid()}"


def _line(text: str) -> str:
    """Shorten a message to one line: libraries write several, and values from files can be very long."""
    line = printable(" ".join(part.strip(" \t") for part in text[: 2 * LONGEST].strip().split("\n")))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


class Mistakes(IdolError):
    """All errors in a recipe, or all files missing for a run; each with its own `where` and `fix`.

    The exit code defaults to that of the first one.
    """

    def __init__(self, mistakes: Sequence[IdolError], *, exit_code: int | None = None) -> None:
        unique = list({(m.what, m.where): m for m in mistakes}.values())
        super().__init__("; ".join(m.what for m in unique), where=unique[0].where, fix=unique[0].fix)
        self.mistakes: list[IdolError] = unique
        self.exit_code = unique[0].exit_code if exit_code is None else exit_code


def raise_all(mistakes: Sequence[IdolError]) -> None:
    """Raise `Mistakes` if there is any."""
    if mistakes:
        raise Mistakes(mistakes)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    by_plain = {_plain(k): k for k in known}
    found = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=0.6)
    return by_plain[found[0]] if found else None


def _plain(name: str) -> str:
    """A name without case and separators, data sets by their short names: YouTube-VIS 2019 is ytvis19."""
    joined = re.sub(r"[-_ ]", "", name.lower()).replace("youtubevis", "ytvis")
    return re.sub(r"(?<=ytvis)20(?=\d\d)", "", joined)


def suggestion(name: str, known: Iterable[str]) -> str:
    """The `fix:` line for an unknown name: the nearest known name, or all of them."""
    names = sorted(known)
    close = nearest(name, names)
    return f"did you mean '{close}'?" if close else f"known: {', '.join(names) or 'none'}"
