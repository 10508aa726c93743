"""The page of a comparison: seconds to make it and to open it, and its size. `python -m benchmarks.report_page`."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from idolctl.evaluation.evaluate import EvalRequest
from idolctl.report.make import report_runs
from tests.browser.chromium import CHROMIUM, Chromium
from tests.browser.made_runs import make_data, make_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--points", type=int, default=2000, help="of each curve")
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        annotations = make_data(home, videos=asked.videos, frames=asked.frames)
        runs = [
            make_run(home / "runs" / f"run{n}", annotations, seed=n, points=asked.points) for n in range(asked.runs)
        ]
        page = asked.out or home / "page.html"
        started = time.perf_counter()
        report_runs(runs, page, EvalRequest(None, home / "runs", None, (), None))
        print(f"{asked.runs} runs of {asked.videos} videos of {asked.frames} frames")
        print(f"made in {time.perf_counter() - started:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
        if CHROMIUM:
            seconds = []
            for _ in range(3):
                with Chromium() as browser:
                    seconds.append(browser.open(page))
            print("opened in " + ", ".join(f"{s:.2f}" for s in seconds) + " s (until its load event)")


if __name__ == "__main__":
    main()
