"""Fine-tuning on a few clips: video AP on the 20 validation videos of the fixed shapes set, for 2 to 20 to train on.

    python benchmarks/few_clips.py --weights runs/toy-tiny/weights.safetensors

Compares training from scratch (the toy recipe, step 3 only) with `idolctl run SET --init WEIGHTS`, its defaults and
changes to them, for as many iterations as the defaults say or --iterations. Every seed has its own choice of videos, in
which 2 are part of 5, and so on. Prints Markdown, mean and spread over the seeds; again it reuses what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
SCRATCH = "from scratch"
VARIANTS: dict[str, tuple[str, ...]] = {
    SCRATCH: (),
    "from the weights, defaults": (),
    "... nothing frozen": ("model.freeze=[]",),
    "... whole backbone frozen": ("model.freeze=[stem,stage1,stage2,stage3,stage4]",),
    "... backbone and encoder frozen": ("model.freeze=[stem,stage1,stage2,stage3,stage4,encoder]",),
    "... all learn at one rate": ("solver.pretrained_lr_factor=1",),
    "... averaged weights (ema .99)": ("solver.ema=.99",),
}
RECIPE = """\
extends: toy
model: {{num_classes: 4}}
data: {{train: {{name: {name}_train}}, val: {{name: {name}_val}}}}
solver: {{iterations: {iterations}, warmup_iterations: {warmup}, batch_size: 8}}
"""


class Job(NamedTuple):
    """One training."""

    variant: str
    videos: int
    seed: int

    @property
    def data(self) -> str:
        return f"shapes{self.videos}-seed{self.seed}"

    @property
    def run(self) -> str:
        return f"{self.data}-{list(VARIANTS).index(self.variant)}"


class Outcome(NamedTuple):
    """Video AP (0..100), iterations, and seconds of training and scoring."""

    ap: float
    iterations: int
    seconds: float


def command(options: argparse.Namespace, *words: str) -> dict[str, object]:
    """The last line that an idolctl command prints, as JSON."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": str(options.threads)}
    environment |= {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    line = [sys.executable, "-m", "idolctl", *words, "--root", str(options.runs_dir / "data"), "--json"]
    found = subprocess.run(line, capture_output=True, text=True, env=environment)
    if found.returncode:
        raise RuntimeError(f"{' '.join(line)}\n{found.stderr}")
    return dict(json.loads(found.stdout.splitlines()[-1]))


def add_set(options: argparse.Namespace, videos: int, seed: int) -> None:
    """Register so many videos of the training part, drawn with the seed, and the whole validation part."""
    train, val = options.shapes / "train", options.shapes / "val"
    content = json.loads((train / "instances.json").read_text())
    order = random.Random(seed).sample(content["videos"], len(content["videos"]))
    kept = {video["id"] for video in order[:videos]}
    content["videos"] = [video for video in content["videos"] if video["id"] in kept]
    content["annotations"] = [entry for entry in content["annotations"] if entry["video_id"] in kept]
    name = Job(SCRATCH, videos, seed).data
    path = options.runs_dir / "data" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    sides = ["--frames", train / "JPEGImages", "--annotations", path]
    sides += ["--val-frames", val / "JPEGImages", "--val-annotations", val / "instances.json"]
    command(options, "data", "add", name, "--force", *map(str, sides))


def train(options: argparse.Namespace, job: Job) -> Outcome:
    """Run (or find) one training and its scores."""
    init = ["--init", str(options.weights)]
    iterations = options.iterations
    if iterations is None:
        planned: list[dict] = command(options, "plan", job.data, *init)["stages"]  # type: ignore[assignment, type-arg]
        iterations = planned[0]["derived"]["solver.iterations"]["value"]
    settings = [f"solver.seed={job.seed}", f"solver.iterations={iterations}", *VARIANTS[job.variant]]
    if job.variant == SCRATCH:
        recipe = options.runs_dir / "data" / f"{job.run}-recipe.yml"
        recipe.write_text(RECIPE.format(name=job.data, iterations=iterations, warmup=min(50, iterations // 10)))
        what = [str(recipe), "--backbone", "tiny", "--steps", "3"]
    else:
        what = [job.data, *init]
    changes = [word for setting in settings for word in ("--set", setting)]
    place = ["--runs-dir", str(options.runs_dir), "--name", job.run, "--gpus", "1"]
    found = command(options, "run", *what, *changes, *place)
    metrics, seconds = found["metrics"], found["stage_seconds"]
    outcome = Outcome(metrics["3"]["AP"], iterations, seconds["3"])  # type: ignore[index]
    print(f"{job.variant}, {job.videos} videos, seed {job.seed}: {outcome}", file=sys.stderr, flush=True)
    return outcome


def table(found: dict[Job, Outcome], sizes: list[int]) -> Iterator[str]:
    """Lines of Markdown: a row per variant, mean ± deviation over the seeds, and mean seconds of a training."""
    done = {n: sorted({o.iterations for job, o in found.items() if job.videos == n}) for n in sizes}
    yield "| video AP | " + " | ".join(f"{n} videos, {'/'.join(map(str, done[n]))} iterations" for n in sizes) + " |"
    yield "|---" * (len(sizes) + 1) + "|"
    for variant in VARIANTS:
        cells = []
        for n in sizes:
            outcomes = [o for job, o in found.items() if (job.variant, job.videos) == (variant, n)]
            aps = [o.ap for o in outcomes]
            spread = f" ± {statistics.stdev(aps):.1f}" if len(aps) > 1 else ""
            seconds = f" ({statistics.mean(o.seconds for o in outcomes):.0f} s, n={len(aps)})" if aps else ""
            cells.append(f"{statistics.mean(aps):.1f}{spread}{seconds}" if aps else "-")
        if any(cell != "-" for cell in cells):
            yield f"| {variant} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=Path("runs/toy-tiny/weights.safetensors"))
    parser.add_argument("--shapes", type=Path, default=CHECKOUT.parent / "shared" / "shapes", help="train/ and val/")
    parser.add_argument("--videos", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", type=int, default=list(range(len(VARIANTS))), help=str([*VARIANTS]))
    parser.add_argument("--iterations", type=int, help="of every training; default: what the set's plan says")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/few-clips"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training on the CPU")
    options = parser.parse_args()
    options.runs_dir = options.runs_dir.resolve()
    options.shapes, options.weights = options.shapes.resolve(), options.weights.resolve()
    chosen = [list(VARIANTS)[number] for number in options.variants]
    jobs = [Job(v, n, seed) for seed in options.seeds for n in options.videos for v in chosen]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda pair: add_set(options, *pair), {(job.videos, job.seed) for job in jobs}))
        running = {job: pool.submit(train, options, job) for job in jobs}
        found = {}
        for job, future in running.items():
            try:
                found[job] = future.result()
            except RuntimeError as error:
                print(f"{job}: {error}", file=sys.stderr)
    print("\n".join(table(found, options.videos)))


if __name__ == "__main__":
    main()
