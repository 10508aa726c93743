"""What waiting threads cost: a tiny training step alone and beside a busy process, with our settings and OpenMP's.

    python benchmarks/threads.py

Prints milliseconds a step for each setting, interleaved, and the ratios to ours. Asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

STEP = [sys.executable, str(Path(__file__).with_name("train_step.py")), "--synthetic"]
SETTINGS = {
    "as the program chooses": {},
    "OpenMP spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = [sys.executable, "-c", "while True: pass"]


def milliseconds(variables: dict[str, str], iterations: int) -> float:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [*STEP, "--warm-up", "1", "--iterations", str(iterations)]
    told = subprocess.run(command, env=inherited | variables, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^step\s+([\d.]+) ms", told, re.MULTILINE)
    if found is None:
        raise RuntimeError(told)
    return float(found.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=5)
    options = parser.parse_args()
    for beside in ("alone", "beside a busy process"):
        measured: dict[str, list[float]] = {name: [] for name in SETTINGS}
        busy = subprocess.Popen(BUSY) if beside != "alone" else None
        try:
            for _ in range(options.rounds):
                for name, variables in SETTINGS.items():
                    measured[name].append(milliseconds(variables, options.iterations))
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
        ours = statistics.median(measured["as the program chooses"])
        for name, values in measured.items():
            median = statistics.median(values)
            spread = f"{min(values):.0f} to {max(values):.0f}"
            print(f"{beside:22s} {name:24s} {median:8.0f} ms ({spread})  x {median / ours:.2f}", flush=True)


if __name__ == "__main__":
    main()
