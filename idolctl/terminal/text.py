"""Print untrusted text (from files, file names, servers) safely: control characters are shown as escapes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0, DEL and C1 controls; marks that change text direction; line and paragraph separators; lone surrogates, which
# Python uses for bytes of file names that are not UTF-8
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES = re.compile(f"[{_CONTROL}]")
_IN_A_LINE = re.compile(rf"[{_CONTROL}\t\n]")


def printable(text: str) -> str:
    r"""`text` as one line: every control character as its escape (`\x1b`, `\n`, `\u202e`)."""
    return _IN_A_LINE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """`text` with tabs and line ends kept, and every other control character as its escape."""
    return _IN_LINES.sub(_escape, text)


@contextmanager
def escaped_output() -> Iterator[None]:
    """Context in which stdout and stderr show control characters, except tabs and line ends, as escapes."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _EscapedStream(before[0]), _EscapedStream(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unescaped(stream: TextIO) -> TextIO:
    """The original stream behind `escaped_output`, for our own control sequences (rewritten lines, live tables)."""
    return stream.behind if isinstance(stream, _EscapedStream) else stream


class _EscapedStream:
    """Wraps a text stream; control characters that are written become escapes."""

    def __init__(self, stream: TextIO) -> None:
        self.behind = stream

    def write(self, text: str) -> int:
        shown = printable_lines(text)
        try:
            self.behind.write(shown)
        except UnicodeEncodeError:  # a terminal or a pipe that is not UTF-8
            encoding = self.behind.encoding
            self.behind.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
