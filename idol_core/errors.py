"""Errors that a user can act on. idolctl prints them as three lines: `error:`, `where:`, `fix:`."""

from __future__ import annotations


class IdolError(Exception):
    """What is wrong, where (file, line or field) and the one command or change that mends it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix


class InvalidInput(IdolError):
    """Usage, an invalid recipe, or a recipe that changed under existing weights."""

    exit_code = 2


class Missing(IdolError):
    """A prerequisite (data, weights) is not there."""

    exit_code = 3


class Integrity(IdolError):
    """A file that is there but is not what it should be: unreadable, corrupt, hostile, leaking or malformed."""

    exit_code = 4


class NetworkError(IdolError):
    """A download that did not come through."""

    exit_code = 5


class Preempted(IdolError):
    """Stopped by a signal after a checkpoint; the same command resumes."""

    exit_code = 75
