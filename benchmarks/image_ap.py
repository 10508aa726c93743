"""AP of images: hotcoco beside pycocotools on the same random images, taking turns.

    python benchmarks/image_ap.py [--images 500]

Seconds of wall clock and of CPU, the best of three runs each, and the largest difference of any number. Reading files
is left out; the ratio of CPU seconds doesn't depend on the number of cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from pathlib import Path

import numpy as np
from hotcoco import COCO as HotCOCO
from hotcoco import COCOeval as HotEval
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.unit.image_sets import random_images


def plain(content, results, kind):
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    return run(COCOeval(truth, truth.loadRes(results), kind))


def hot(content, results, kind):
    truth = HotCOCO(content)
    return run(HotEval(truth, truth.loadRes(results), kind))


def run(evaluation):
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def copies(value):
    """Both libraries may write into what they are given."""
    return [dict(one) for one in value]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    content, results = random_images(0, images=parser.parse_args().images, categories=range(1, 41))
    rng = np.random.default_rng(0)
    results = [one | {"score": float(rng.random())} for one in results for _ in range(10)]
    print(f"{len(content['images'])} images, {len(content['annotations'])} objects, {len(results)} results")
    for kind in ("segm", "bbox"):
        best, stats = {}, {}
        for _ in range(3):
            for work in (plain, hot):
                given = content | {"annotations": copies(content["annotations"])}, copies(results), kind
                wall, cpu = time.perf_counter(), time.process_time()
                with contextlib.redirect_stdout(io.StringIO()):
                    stats[work] = np.asarray(work(*given).stats)
                taken = time.perf_counter() - wall, time.process_time() - cpu
                best[work] = tuple(map(min, zip(taken, best.get(work, taken), strict=True)))
        (wall, cpu), (hot_wall, hot_cpu) = best[plain], best[hot]
        print(
            f"{kind}: pycocotools {wall:.2f} s ({cpu:.2f} s CPU), hotcoco {hot_wall:.2f} s ({hot_cpu:.2f} s CPU): "
            f"{cpu / hot_cpu:.0f} times less CPU; largest difference {np.abs(stats[plain] - stats[hot]).max():.0e}"
        )


if __name__ == "__main__":
    main()
