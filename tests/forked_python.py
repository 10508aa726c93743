"""Python processes that the code under test starts, forked instead of executed: importing torch takes seconds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import process, resource_tracker
from pathlib import Path
from typing import Any

_fork_exec, _execv = subprocess._fork_exec, os.execv


def fork_pythons() -> None:
    """From now on this process forks where subprocess.Popen or os.execv would execute `python -m MODULE ...`.

    The new process runs MODULE with the arguments, environment, folder, open files, process group and signals that it
    was given, and its parent waits for it as for any other. All that differs: the modules of its parent are there
    already. What it starts is forked, too.
    """
    subprocess._fork_exec, os.execv = _fork, _execute


def _module(args: Sequence[Any]) -> list[str] | None:
    """MODULE and its arguments, if a command is `python [-u] -m MODULE ...`."""
    python, *words = map(os.fsdecode, args)
    if words[:1] == ["-u"]:
        del words[0]
    return words[1:] if python == sys.executable and words[:1] == ["-m"] else None


def _fork(*given: Any) -> int:
    """In place of subprocess._fork_exec: the process number of the new process."""
    args, _, _, kept, cwd, env, stdin, _, _, stdout, _, stderr, _, failed, _, own_session, group, *_ = given
    module = _module(args)
    if module is None:
        return _fork_exec(*given)
    files, keep = {0: stdin, 1: stdout, 2: stderr}, {*kept} - {failed}
    child = multiprocessing.get_context("fork").Process(
        target=_become, args=(module, files, keep, cwd, env, own_session, group)
    )
    child.start()
    process._children.discard(child)  # subprocess waits for it
    return child.pid


def _execute(path: str, args: Sequence[str]) -> None:
    """In place of os.execv."""
    module = _module(args)
    if module is None:
        _execv(path, args)
    else:
        _run(module)


def _become(module, files, keep, cwd, env, own_session, group) -> None:
    gc.freeze()  # files of the parent are closed here, so nothing may close them again
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as Python does when it starts
        signal.signal(number, signal.SIG_IGN)
    if own_session:
        os.setsid()
    if group >= 0:
        os.setpgid(0, group)
    for number, file in files.items():
        if file >= 0:
            os.dup2(file, number)
    keep |= {0, 1, 2, resource_tracker.getfd()}
    for number in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - keep:
        with suppress(OSError):  # that of the folder itself
            os.close(number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", buffering=1, closefd=False) for n in (1, 2))
    if cwd is not None:
        os.chdir(cwd)
    if env is not None:
        os.environ.clear()
        os.environ.update(os.fsdecode(entry).split("=", 1) for entry in env)
    if module[0] == "submitit.local._local":  # counts on Python's slow start: its folder is only made now
        while not Path(module[1].replace("%j", str(os.getpid()))).is_dir():
            time.sleep(0.01)
    _run(module)


def _run(module: list[str]) -> None:
    sys.argv = list(module)
    sys.modules.pop(module[0], None)  # it runs anew, as __main__
    runpy.run_module(module[0], run_name="__main__", alter_sys=True)
    sys.exit(0)
