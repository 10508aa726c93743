"""Identity metrics: ours beside TrackEval on the same files, taking turns; and what the analysis of errors takes.

    python benchmarks/identity.py [--videos 40] [--results 25]

CPU seconds, reading of the files included, the best of two runs each, and the largest difference of any figure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import trackeval
from pycocotools import mask as coco_mask
from video_ap import large_set

from idol_core.evaluation import IDENTITY_METRICS
from idol_core.evaluation.identity import evaluate_identity
from idol_core.evaluation.track_errors import evaluate_track_errors


def for_trackeval(folder):
    """The same set with what TrackEval asks for: uncompressed counts in the truth, and sizes of the frames."""
    content = json.loads((folder / "gt.json").read_text())
    sizes = {video["id"]: (video["height"], video["width"]) for video in content["videos"]}
    for annotation in content["annotations"]:
        height, width = sizes[annotation["video_id"]]
        annotation |= {"height": height, "width": width}
        annotation["segmentations"] = [rle and uncompressed(rle) for rle in annotation["segmentations"]]
    for name in ("gt/youtube_vis_all", "trackers/youtube_vis_all/ours/data"):
        (folder / name).mkdir(parents=True)
    (folder / "gt/youtube_vis_all/gt.json").write_text(json.dumps(content))
    (folder / "trackers/youtube_vis_all/ours/data/results.json").symlink_to(folder / "results.json")


def uncompressed(rle):
    pixels = coco_mask.decode(rle).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels.astype(np.int8))) + 1
    runs = np.diff([0, *changes, pixels.size]).tolist()
    return {"size": rle["size"], "counts": [0, *runs] if pixels[0] else runs}


def theirs(folder):
    quiet = {"PRINT_CONFIG": False}
    settings = {"GT_FOLDER": f"{folder}/gt/", "TRACKERS_FOLDER": f"{folder}/trackers/", "SPLIT_TO_EVAL": "all"}
    dataset = trackeval.datasets.YouTubeVIS(settings | quiet)
    kinds = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
    off = ("PRINT_RESULTS", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES", "OUTPUT_EMPTY_CLASSES")
    evaluator = trackeval.Evaluator(quiet | dict.fromkeys(off, False) | {"LOG_ON_ERROR": None, "BREAK_ON_ERROR": True})
    found = evaluator.evaluate([dataset], kinds)[0]["YouTubeVIS"]["ours"]["COMBINED_SEQ"]["cls_comb_det_av"]
    figures = {**found["HOTA"], **found["CLEAR"], **found["Identity"]}
    return {name: float(np.mean(figures[name])) * (1 if name == "IDSW" else 100) for name in IDENTITY_METRICS}


def ours(folder):
    return evaluate_identity(folder / "gt.json", folder / "results.json").combined


def errors(folder):
    return evaluate_track_errors(folder / "gt.json", folder / "results.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--results", type=int, default=25, help="results of a video")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        large_set(folder, videos=arguments.videos, results=arguments.results)
        for_trackeval(folder)
        best, found = {}, {}
        for _ in range(2):
            for work in (theirs, ours, errors):
                begin = time.process_time()
                with contextlib.redirect_stdout(io.StringIO()):
                    found[work] = work(folder)
                best[work] = min(best.get(work, np.inf), time.process_time() - begin)
    worst = max(abs(found[theirs][name] - found[ours][name]) for name in IDENTITY_METRICS)
    print(f"{arguments.videos} videos of 30 frames of 360x640, 5 objects and {arguments.results} results each")
    print(
        f"identity: TrackEval {best[theirs]:.1f} s, ours {best[ours]:.1f} s of CPU: "
        f"{best[theirs] / best[ours]:.1f} times faster; largest difference {worst:.0e}"
    )
    print(f"errors: {best[errors]:.1f} s of CPU; AP {found[errors].ap:.1f}, with all mended {found[errors].all.ap:.1f}")


if __name__ == "__main__":
    main()
