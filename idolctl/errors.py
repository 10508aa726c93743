"""How errors reach a person: three lines each on stderr, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from idol_core.errors import IdolError

INTERRUPTED = 130


def report(error: BaseException, *, debug: bool = False) -> int:
    """Print `error`, `where` and `fix` lines (for every mistake of several) and return the exit code."""
    if debug:
        traceback.print_exception(error)
    known = error if isinstance(error, IdolError) else _translated(error)
    for single in getattr(known, "mistakes", [known]):
        print(f"error: {_line(single.what)}", file=sys.stderr)
        print(f"where: {_line(single.where) or '-'}", file=sys.stderr)
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
        return IdolError(what, where=where, fix="look at that path, then repeat the command")
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f"{last[0].filename}:{last[0].lineno}:{last[0].name}" if last else ""
    what = f"{type(error).__name__}: {error}"
    return IdolError(what, where=where, fix="repeat it with --debug and report the traceback")


def _user() -> str:
    return os.environ.get("USER") or f"uid {os.getuid()}"


def _line(text: str) -> str:
    return " ".join(text.split())
