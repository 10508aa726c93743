"""Changes valid files at random and reports every command that ends in anything but success or an error of three lines.

python -m tests.soak.fuzz --kind recipes --count 200 --seed 7          one kind
python -m tests.soak.fuzz --kind recipes --seed 7 --only 31            one input again
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

KEPT = Path("soak-faults")


def fuzz(kind: str, home: Path, *, indices: Sequence[int], seed: int, keep: Path = KEPT) -> list[str]:
    """Run the inputs of one kind; print counts and the kinds of faults, keep the inputs at fault; return the faults."""
    from tests.soak.kinds import KINDS
    from tests.soak.runner import kind_of, run_inputs

    _warm()
    started, faults, codes = time.monotonic(), list[str](), Counter[int]()
    alike: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        for outcome in run_inputs(kind, KINDS[kind], home, Path(scratch), indices, seed):
            codes.update(outcome.codes)
            if not outcome.fault:
                continue
            faults.append(f"{kind} {seed} {outcome.index}: {outcome.fault}")
            alike[kind_of(outcome.fault)] += 1
            place = keep / f"{kind}-{seed}-{outcome.index}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(Path(scratch) / "work", place, ignore=shutil.ignore_patterns("runs", "bases"))
            (place / "fault.txt").write_text(
                f"{faults[-1]}\npython -m tests.soak.fuzz --kind {kind} --seed {seed} --only {outcome.index}\n"
            )
    seconds = time.monotonic() - started
    ended = ", ".join(f"{number} with {code}" for code, number in sorted(codes.items()))
    print(
        f"{kind}: {len(indices)} inputs, seed {seed}: {len(faults)} faults; commands ended: {ended}; {seconds:.0f} s",
        flush=True,
    )
    for text, number in alike.most_common():
        print(f"  {number} x {text}", flush=True)
    if faults:
        print(f"  the inputs are in {keep}", flush=True)
    return faults


def prepared(home: Path) -> Path:
    """`home`, filled with valid files if it is not."""
    from tests.soak.valid import prepare

    if not (home / "arrays.pkl").is_file():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        prepare(home)
    return home


def _warm() -> None:
    """Import what the commands import, so that every forked process has it."""
    import importlib
    import pkgutil

    import idol_core
    import idolctl

    for package in (idol_core, idolctl):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "detectron2" not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def _arguments() -> argparse.Namespace:
    from tests.soak.kinds import KINDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="may be given again; default: all")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--only", type=int, help="the index of one input")
    parser.add_argument("--home", type=Path, help="where the valid files are, or are to be; default: made anew")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where the inputs at fault go")
    arguments = parser.parse_args()
    arguments.kind = arguments.kind or list(KINDS)
    return arguments


def _main() -> int:
    arguments = _arguments()
    indices = range(arguments.count) if arguments.only is None else [arguments.only]
    with tempfile.TemporaryDirectory(prefix="soak-") as made:
        home = prepared((arguments.home or Path(made) / "home").resolve())
        keep = arguments.keep.resolve()
        faults = [
            fault
            for kind in arguments.kind
            for fault in fuzz(kind, home, indices=indices, seed=arguments.seed, keep=keep)
        ]
    for fault in faults if arguments.only is not None else ():
        print(fault)
    return min(len(faults), 99)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a process with threads should not fork
    sys.exit(_main())
