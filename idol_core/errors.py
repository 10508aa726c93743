"""Errors that a user can act on. idolctl prints them as three lines: `error:`, `where:`, `fix:`."""

from __future__ import annotations


class IdolError(Exception):
    """An error with its place (file, line or field) and the one command or change that fixes it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix


class InvalidInput(IdolError):
    """Wrong usage, an invalid recipe, or a recipe that was changed after weights were trained with it."""

    exit_code = 2


class Missing(IdolError):
    """A prerequisite (data, weights) is missing."""

    exit_code = 3


class Integrity(IdolError):
    """A file exists but can't be used: unreadable, corrupt, hostile, leaking or malformed."""

    exit_code = 4


class NetworkError(IdolError):
    """A download failed. `transient`: the server did not answer as it should, and may do so later."""

    exit_code = 5

    def __init__(self, what: str, *, where: str = "", fix: str = "", transient: bool = False) -> None:
        super().__init__(what, where=where, fix=fix)
        self.transient = transient


class Preempted(IdolError):
    """A signal stopped the run, a checkpoint was written; the same command resumes it."""

    exit_code = 75
