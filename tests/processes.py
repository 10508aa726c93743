"""Processes of the tests that start in milliseconds: forked from a server that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.forked_python import fork_pythons

_CHECKOUT = Path(__file__).resolve().parents[1]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.preload"])


def forked(work: Callable[..., None], *args: Any, environment: Mapping[str, str]) -> BaseProcess:
    """Start `work(*args)` in a new process. What modules read from the environment when imported, they have read."""
    with contextlib.chdir(_CHECKOUT):  # from another folder the server would find nothing to import, and not say so
        forkserver.ensure_running()
    process = _SERVER.Process(target=_begin, args=(dict(environment), work, args))
    process.start()
    return process


class Started:
    """A running `idolctl ARGS`, with the methods of subprocess.Popen that the tests use.

    limit: the most bytes that it may write to a file. before: called in its process, and so for its workers, first.
    """

    def __init__(
        self,
        words: Sequence[object],
        cwd: Path,
        environment: Mapping[str, str],
        *,
        limit: int | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.args = [str(word) for word in words]
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        said = map(str, self._said)
        self._process = forked(_idolctl, self.args, str(cwd), *said, limit, before, environment=environment)
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def stderr_so_far(self) -> str:
        path = self._said[1]
        return path.read_text("utf-8") if path.exists() else ""

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Wait for the end; what it wrote to stdout and stderr."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"idolctl {self.args} has not ended")
        stdout, stderr = (path.read_text("utf-8") if path.exists() else "" for path in self._said)
        return stdout, stderr

    def wait(self, timeout: float = 600) -> int | None:
        self.communicate(timeout)
        return self.returncode


def run_idolctl(
    *args: object, cwd: Path, environment: Mapping[str, str], limit: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `idolctl ARGS` in the folder `cwd` as `python -m idolctl` would, its files limited to `limit` bytes each."""
    process = Started(args, cwd, environment, limit=limit)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode or 0, stdout, stderr)


def _begin(environment: dict[str, str], work: Callable[..., None], args: tuple[Any, ...]) -> None:
    # A process of a fork server would start its loaders by a server of their own, which outlives a kill -9.
    multiprocessing.set_start_method("fork", force=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests were started in the background
    os.environ.clear()
    os.environ.update(environment)
    work(*args)


def _idolctl(
    words: list[str], cwd: str, stdout: str, stderr: str, limit: int | None, before: Callable[[], None] | None
) -> None:
    from idolctl.app import main

    fork_pythons()
    if before is not None:
        before()

    os.chdir(cwd)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    sys.exit(main(words))
