"""The two tables of the README: what each step brings, and what the embeddings bring, on the embedded data set.

    python benchmarks/toy_tables.py --seeds 0 1 2 --runs-dir runs/tables

Trains steps 3, 1-3, 2-3 and 1-2-3 for every seed (plans share their stages), then scores the last weights as they
are and with the embeddings of each frame shuffled among its detections. Prints mean and spread as Markdown; again it
reuses what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PLANS = ("3", "1,3", "2,3", "1,2,3")


def run(recipe: str, steps: str, seed: int, runs: Path, root: Path) -> dict[str, object]:
    """The last line that `idolctl run --json` prints."""
    command = [
        sys.executable, "-m", "idolctl", "run", recipe, "--steps", steps, "--set", f"solver.seed={seed}",
        "--name", f"seed{seed}", "--runs-dir", str(runs), "--root", str(root), "--json",
    ]  # fmt: skip
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(told.splitlines()[-1]))


def shuffled_ap(weights: Path, stage: Path, root: Path, seed: int) -> float:
    """Video AP (0..100) of the same weights with the embeddings shuffled among the detections of each frame."""
    from idol_core.config import stage_from_dict
    from idol_core.data.catalog import resolve_source
    from idol_core.data.dataset import open_dataset
    from idol_core.evaluation.video_ap import evaluate_vis
    from idol_core.inference.datasets import infer_videos
    from idol_core.inference.shuffle import EmbeddingShuffle
    from idol_core.inference.streaming import VideoSegmenter

    config = stage_from_dict(json.loads((stage / "stage.json").read_text())["config"])
    dataset = open_dataset(resolve_source(config.data.val, root))
    segmenter = VideoSegmenter.from_pretrained(str(weights), transform_detections=EmbeddingShuffle(seed))
    results = infer_videos(segmenter, dataset, on_progress=lambda done, total: None)
    return 100 * evaluate_vis(dataset.source, results).stats["AP"]


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="toy")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plans", nargs="+", default=list(PLANS))
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/tables"))
    parser.add_argument("--root", type=Path, default=Path("datasets"))
    options = parser.parse_args()
    scores: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    shuffled: list[float] = []
    for seed in options.seeds:
        for steps in options.plans:
            found = run(options.recipe, steps, seed, options.runs_dir, options.root)
            scores.setdefault(steps, []).append(found["metrics"]["3"]["AP"])
            seconds.setdefault(steps, []).append(sum(found["stage_seconds"].values()))
            print(f"seed {seed}, steps {steps}: {found['metrics']} {found['stage_seconds']}", file=sys.stderr)
        stage = Path(found["paths"]["stages"]["3"])
        shuffled.append(shuffled_ap(stage / "weights.safetensors", stage, options.root, seed))
        print(f"seed {seed}, shuffled embeddings: {shuffled[-1]:.1f}", file=sys.stderr)
    print("| steps | video AP | seconds of training and scoring |\n|---|---|---|")
    for steps, values in scores.items():
        print(f"| {steps} | {spread(values)} | {spread(seconds[steps])} |")
    last = options.plans[-1]
    print(f"\n| embeddings of steps {last} | video AP |\n|---|---|")
    print(f"| as they are | {spread(scores[last])} |\n| shuffled among each frame's detections | {spread(shuffled)} |")


if __name__ == "__main__":
    main()
