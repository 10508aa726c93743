"""Background threads: prefetch an iterable; run tasks while the caller continues."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")
Task = Generator[None, None, None]

_AHEAD = 16
_PATIENCE = 0.1  # seconds between checks whether the other thread still runs


@contextlib.contextmanager
def prefetched(source: Iterable[_T], *, ahead: int = _AHEAD) -> Iterator[Iterator[_T]]:
    """Iterate over `source` in another thread, up to `ahead` items in advance.

    What `source` raises is raised where the item is taken. Leaving the context ends the thread and the iteration.
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=ahead)
    abandoned = threading.Event()

    def put(item: tuple[str, Any]) -> bool:
        while not abandoned.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_PATIENCE)
                return True
        return False

    def work() -> None:
        try:
            for item in source:
                if not put(("item", item)):
                    return
            put(("end", None))
        except Exception as error:
            put(("error", error))

    def taken() -> Iterator[_T]:
        while True:
            kind, value = waiting.get()
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        abandoned.set()
        thread.join()
        _empty(waiting)
        waiting.put(("end", None))  # wakes a consumer in another thread


class Background:
    """Runs tasks in a thread, one at a time in the order given; see `background`."""

    def __init__(self, waiting: int) -> None:
        self._tasks: queue.Queue[Task | None] = queue.Queue(maxsize=waiting)
        self._abandoned, self._ended = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)
        self._thread.start()

    def add(self, task: Task) -> None:
        """Queue a task; blocks while the queue is full. Raises what an earlier task raised."""
        self._put(task)
        self.check()

    def check(self) -> None:
        """Raise what a task raised, if one did."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Wait for all tasks. Raises what one of them raised."""
        self._put(None)
        # Not Thread.join: a Ctrl-C during it marks the thread as ended (Python 3.11). Not a wait without a timeout: a
        # signal received by another thread would not interrupt it.
        while not self._ended.wait(_PATIENCE):
            pass
        self.check()

    def abandon(self) -> None:
        """Close the running task at its next step; queued tasks are not started."""
        self._abandoned.set()
        _empty(self._tasks)
        self._tasks.put(None)
        self._ended.wait()
        self._thread.join()

    def _put(self, task: Task | None) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(queue.Full):
                self._tasks.put(task, timeout=_PATIENCE)
                return

    def _work(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                with contextlib.closing(task):
                    for _ in task:
                        if self._abandoned.is_set():
                            return
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()


@contextlib.contextmanager
def background(*, waiting: int = 1) -> Iterator[Background]:
    """Start a thread for tasks without a result, such as writing files; at most `waiting` tasks are queued.

    A task is a generator that yields after every small step. What a task raises is raised, with its own type, at the
    next `add` or `check` or at the end of the context; no further tasks are run. Leaving the context waits for all
    tasks; leaving it by an exception (including Ctrl-C) closes the running one and drops the others.
    """
    tasks = Background(waiting)
    try:
        yield tasks
        tasks.finish()
    finally:
        tasks.abandon()


def _empty(waiting: queue.Queue[Any]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()
