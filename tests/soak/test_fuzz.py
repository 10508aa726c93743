"""`make soak`: 2,000 changed files of every kind, each ending in success or an error of three lines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

COUNT = 2000
CHECKOUT = Path(__file__).resolve().parents[2]
KINDS = (
    "vis-annotations",
    "coco-annotations",
    "results",
    "recipes",
    "detectron2",
    "weights",
    "checkpoints",
    "state",
    "labels",
)

# Inputs that end in every way there is, judged by the real runner. A process of its own: what forks has no threads.
ENDS = """
import os, sys, tempfile, time
from pathlib import Path
from idol_core.errors import Integrity
from tests.soak.runner import run_inputs

def raises_ours(): raise Integrity("damaged", where="a file", fix="fetch it again")
def is_well(): pass
def ends_in_a_traceback(): {}["key"]
def takes_memory(): b"x" * (8 << 30)
def never_ends(): time.sleep(60)
def is_killed(): os.kill(os.getpid(), 9)
def leaves_half_a_file(): Path(".x.part").touch()

calls = [raises_ours, is_well, ends_in_a_traceback, takes_memory, never_ends, is_killed, leaves_half_a_file, is_well]
def make(rng, home, work):
    return [calls[int((home / "at").read_text())]]
with tempfile.TemporaryDirectory() as folder:
    for number, call in enumerate(calls):
        (Path(folder) / "at").write_text(str(number))
        (outcome,) = run_inputs("ends", make, Path(folder), Path(folder), [number + 1], 1, seconds=1.0)
        print(f"{outcome.codes} {outcome.fault}")
"""


def test_every_way_a_command_can_end_is_judged():
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", ENDS], env=environment, capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert told[0] == "[4] "
    assert told[1] == told[7] == "[0] "
    assert told[2] == "[1] ends_in_a_traceback: a traceback: error: KeyError: 'key'"
    assert told[3].startswith("[1] takes_memory: a traceback: error: MemoryError")
    assert told[4] == "[] no end in 4 s"
    assert told[5] == "[] the process died: SIGKILL"
    assert told[6] == "[0] leaves_half_a_file: a half-written file: .x.part"


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("soak") / "home"


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_end_well(kind, home):
    seed = os.environ.get("SOAK_SEED", str(time.time_ns() % 10**6))
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.soak.fuzz", "--kind", kind, "--count", str(COUNT), "--seed", seed]
    done = subprocess.run([*command, "--home", str(home)], env=environment, check=False)
    assert done.returncode == 0
