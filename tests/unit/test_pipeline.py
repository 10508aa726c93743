"""Work in threads: in order, bounded, its exceptions in their own type, and nothing left running."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from idol_core.errors import Missing
from idol_core.system.background import background, prefetched


def test_a_reader_that_is_left_early_ends():
    taken = []

    def source():
        for i in range(10**9):
            taken.append(i)
            yield i

    with prefetched(source(), ahead=3) as items:
        assert [next(items) for _ in range(5)] == list(range(5))
    assert len(taken) < 20


def test_a_consumer_in_another_thread_ends_with_the_reader():
    left, taken = threading.Event(), threading.Event()

    def slow():
        yield 1
        assert left.wait(60)
        yield 2

    def take():
        for _ in inner:
            taken.set()

    with prefetched(slow()) as inner:
        outer = threading.Thread(target=take, daemon=True)
        outer.start()
        assert taken.wait(60)
        left.set()
    outer.join(timeout=60)
    assert not outer.is_alive()


def steps(log, name, count=3, fails_at=None, after=None):
    """A job that notes each of its steps, and its end whatever that is; `after` is an event that it begins behind."""
    try:
        if after is not None:
            assert after.wait(60)
        for i in range(count):
            if i == fails_at:
                raise Missing(f"{name} failed")
            log.append((name, i))
            time.sleep(0.005)
            yield
    finally:
        log.append((name, "closed"))


def test_jobs_run_in_order_while_the_caller_continues():
    log: list[object] = []
    given = threading.Event()
    with background() as jobs:
        for name in "abc":
            jobs.add(steps(log, name))
        jobs.add(steps(log, "d", after=given))  # would never return if it waited for the job
        given.set()
    assert log == [(name, i) for name in "abcd" for i in (0, 1, 2, "closed")]


def test_the_caller_waits_while_enough_jobs_are_queued():
    log: list[object] = []
    with background(waiting=1) as jobs:
        for name in "abc":
            jobs.add(steps(log, name))
        assert ("a", "closed") in log, "three jobs were taken at once"


def watching(jobs):
    """As a long tracking does."""
    while True:
        jobs.check()
        time.sleep(0.01)


def giving(jobs):
    for _ in range(5):
        jobs.add(steps([], "never"))


@pytest.mark.parametrize("then", [watching, giving, lambda jobs: None])
def test_an_exception_of_a_job_keeps_its_type_and_ends_the_work(then):
    log: list[object] = []

    def work():
        with background() as jobs:
            jobs.add(steps(log, "a", fails_at=1))
            then(jobs)

    with pytest.raises(Missing, match="a failed"):
        work()
    assert log == [("a", 0), ("a", "closed")]


def test_an_exception_of_the_caller_closes_the_running_job_and_drops_the_others():
    log: list[object] = []

    def work():
        with background(waiting=4) as jobs:
            jobs.add(steps(log, "long", count=10**9))  # without an end
            jobs.add(steps(log, "next"))
            while len(log) < 3:
                time.sleep(0.005)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert log[-1] == ("long", "closed")
    assert ("next", 0) not in log
    assert "background" not in [thread.name for thread in threading.enumerate()]


def test_a_signal_that_another_thread_receives_ends_the_wait_for_jobs():
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    before = signal.signal(signal.SIGUSR1, stop)
    log: list[object] = []
    sender = threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))

    def work():
        with background() as jobs:
            jobs.add(steps(log, "long", count=10_000))
            sender.start()

    try:
        with pytest.raises(Stopped):
            work()
    finally:
        sender.cancel()
        signal.signal(signal.SIGUSR1, before)
    assert log[-1] == ("long", "closed")
    assert len(log) < 10_000
