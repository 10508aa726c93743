"""Runs commands on changed files in forked processes of bounded memory and time, and judges how each ended."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from idol_core.errors import IdolError
from idolctl.app import main
from idolctl.errors import report

MEMORY = 2 << 30  # bytes of address space above what the imports take
FILE_SIZE = 256 << 20
SECONDS = 20.0  # of one input; one that needs more is tried once more alone, with four times as many
BATCH = 100  # inputs of one process
KNOWN_CODES = (0, 2, 3, 4, 5)

Command = Sequence[str] | Callable[[], object]  # arguments of idolctl, or a call that may raise IdolError
Make = Callable[[Random, Path, Path], list[Command]]  # (random, folder of valid files, empty folder) -> commands


class Outcome(NamedTuple):
    """How the commands of one input ended: the exit codes, and what was wrong with that, '' if nothing."""

    index: int
    codes: list[int]
    fault: str
    seconds: float


def run_inputs(
    kind: str, make: Make, home: Path, scratch: Path, indices: Sequence[int], seed: int, *, seconds: float = SECONDS
) -> Iterator[Outcome]:
    """Make, run and judge every input. A fault is told only if it happens in a process of its own too."""
    left = list(indices)
    while left:
        doubtful = None
        batch = _batch(kind, make, home, scratch, left[:BATCH], seed, seconds)
        for outcome in batch:
            left.remove(outcome.index)
            if outcome.fault:
                doubtful = outcome.index
                break
            yield outcome
        batch.close()  # its process shares the folder
        if doubtful is not None:
            yield from _batch(kind, make, home, scratch, [doubtful], seed, 4 * seconds)


class Unchanged(Random):
    """The chance of input 0, which is left as it is: its commands must succeed."""


def random_of(kind: str, seed: int, index: int) -> Random:
    """The chance of one input, the same whatever else is run."""
    return (Random if index else Unchanged)(f"{kind} {seed} {index}")


def _batch(
    kind: str, make: Make, home: Path, scratch: Path, indices: Sequence[int], seed: int, seconds: float
) -> Iterator[Outcome]:
    """Outcomes of the inputs up to the one that ends the process."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _work(kind, make, home, scratch, indices, seed, writing)
        finally:
            os._exit(0)
    os.close(writing)
    number, told = 0, b""
    started = time.monotonic()
    try:
        while number < len(indices):
            left = started + seconds - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                os.kill(child, signal.SIGKILL)
                yield Outcome(indices[number], [], f"no end in {seconds:.0f} s", seconds)
                return
            chunk = os.read(reading, 1 << 16)
            if not chunk:
                _, status = os.waitpid(child, 0)
                child = 0
                how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "it ended by itself"
                yield Outcome(indices[number], [], f"the process died: {how}", time.monotonic() - started)
                return
            told += chunk
            while b"\n" in told:
                line, _, told = told.partition(b"\n")
                codes, fault = json.loads(line)
                yield Outcome(indices[number], codes, fault, time.monotonic() - started)
                number, started = number + 1, time.monotonic()
    finally:
        os.close(reading)
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _work(
    kind: str, make: Make, home: Path, scratch: Path, indices: Sequence[int], seed: int, tell: int
) -> None:  # the forked process
    _bound()
    said = os.open(scratch / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(said, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
    for index in indices:
        work = scratch / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        os.chdir(work)
        codes: list[int] = []
        fault = ""
        for command in _commands(make, random_of(kind, seed, index), home, work):
            os.ftruncate(said, 0)
            os.lseek(said, 0, os.SEEK_SET)
            code = _run(command)
            sys.stderr.flush()
            text = os.pread(said, 1 << 20, 0).decode("utf-8", "replace")
            codes.append(code)
            wrong = judge(code, text) or _left_over(work) or (code and not index and f"valid, but exit {code}: {text}")
            if wrong:
                fault = f"{_shown(command)}: {wrong}"
                break
        os.write(tell, json.dumps([codes, fault]).encode() + b"\n")


def _commands(make: Make, rng: Random, home: Path, work: Path) -> list[Command]:
    try:
        return make(rng, home, work)
    except Exception as error:  # of the fuzzer
        at = traceback.extract_tb(error.__traceback__)[-1]
        what = f"no input was made: {error!r} ({Path(at.filename).name}:{at.lineno})"

        def no_input() -> None:
            raise AssertionError(what)

        return [no_input]


def _bound() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _run(command: Command) -> int:
    if not callable(command):
        return main(command)
    try:
        command()
        return 0
    except IdolError as error:
        return report(error)
    except BaseException as error:
        traceback.print_exc()
        return report(error)


def judge(code: int, said: str) -> str:
    """What is wrong with an exit code and what stood on stderr; '' for a success and for errors of three lines."""
    lines = said.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("error: ")), len(lines))
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return f"a traceback: {lines[-1] if first == len(lines) else lines[first]}"
    if code == 0:
        return "" if first == len(lines) else f"exit 0 with {lines[first]}"
    block = lines[first:]
    if not block:
        return f"exit {code} without an error"
    for at in range(0, len(block), 3):
        keys = [line.partition(": ")[0] for line in block[at : at + 3]]
        if keys != ["error", "where", "fix"]:
            return f"an error that has not three lines: {block[at]}"
    if "run it again with --debug" in said:
        return f"an error of the program itself: {block[0]} ({block[1].rpartition('/')[2]})"
    return "" if code in KNOWN_CODES else f"exit {code}: {block[0]}"


def _left_over(work: Path) -> str:
    left = [path.name for path in work.rglob("*.part*")]
    return f"a half-written file: {left[0]}" if left else ""


def _shown(command: Command) -> str:
    return getattr(command, "__name__", "call") if callable(command) else " ".join(command[:2])


def kind_of(fault: str) -> str:
    """A fault without its numbers, texts and paths, to count like ones together."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+|/\S+", "_", fault)[:160]
