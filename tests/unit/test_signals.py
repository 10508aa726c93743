"""Signals that end a command: exit code 75 whatever else arrives until the process is gone."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import CHECKOUT, blocks

# Each line it prints is a place where the test sends another signal; it goes on when it is answered.
PROGRAM = """
import sys, time
from idol_core.errors import Preempted
from idolctl.errors import report
from idolctl.signals import stoppable

def tell(place):
    print(place, flush=True)
    sys.stdin.readline()

try:
    with stoppable():
        try:
            tell('at work')
            if sys.argv[1] == 'passed on':
                raise Preempted('stopped at iteration 3', where='w', fix='f')
            time.sleep(900)
        finally:
            tell('cleaning up')
except Preempted as error:
    tell('reporting')
    code = report(error)
tell('about to end')
sys.exit(code)
"""


@pytest.mark.parametrize("how", ["here", "passed on"])
def test_further_signals_change_nothing(how):
    """`here`: this process is told to stop. `passed on`: its worker was, and has ended."""
    command = [sys.executable, "-c", PROGRAM, how]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "at work\n"
    if how == "here":
        process.send_signal(signal.SIGTERM)
    else:
        process.stdin.write("\n")
        process.stdin.flush()
    places = []
    while place := process.stdout.readline():
        places.append(place.strip())
        if (how, place) != ("passed on", "cleaning up\n"):  # there it still is the first one that comes here
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGUSR1)
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.wait() == 75
    assert places == ["cleaning up", "reporting", "about to end"]
    (told,) = blocks(process.stderr.read())
    assert told["error"] == ("stopped by SIGTERM" if how == "here" else "stopped at iteration 3")


def test_after_a_command_that_went_well_signals_are_as_before():
    from idolctl.signals import stoppable

    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(ValueError, match="own"), stoppable():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGTERM) == before
