"""Step 3 on pairs against step 3 with memory association, each ingredient alone: the same time for every run.

    python benchmarks/association.py --start runs/toy-tiny/1-2/weights.safetensors --device cuda --jobs 14 --seconds 100
    python benchmarks/association.py --start ... --only pairs "memory 4" --sets toy --seconds 400 --out runs/association

A run trains for `--seconds` (on a CPU: of its processor time) from the given weights (of step 2; other classes than
theirs start anew), with a cosine schedule over as many iterations as fit, and is scored on toy validation videos of
three seeds (toy) or on the validation videos (shapes): AP, HOTA, identity switches; AP with the embeddings shuffled
among each frame's detections; AP and switches with tracker.similarity_weighting (sim), with tracker.memory_length 10
besides, with tracker.mask_nms 0.3 (nms), and with both; mask AP of images (toy: its validation images, shapes: the
frames); AP by occlusion where objects have levels of it (toy). Every run is one process, `--jobs` at once. What is in
`--out` is not run again; after `--stop` seconds no run is begun. Prints mean and spread over seeds, and the difference
to pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

MEASURED = 20, 40  # iterations from and after which an iteration's time is measured


def memory(frames, items, **more):
    """Clips of so many frames, so many of them a batch; `more`: constants of idol_core.losses.memory, and settings."""
    constants = {name: more.pop(name) for name in list(more) if name.isupper()}
    settings = {"loss.association": "memory", "input.clip_frames": frames, "solver.batch_size": items}
    return {"constants": constants, "settings": settings | more}


MIX = {"data.mix.share": 0.4}  # as published for YouTube-VIS 2019
# Pairs: 8 of 2 frames a batch. An iteration of any run has 16 frames (20 in clips of 10).
ARMS = {
    "pairs": {"settings": {}},
    "memory 4": memory(4, 4),
    "memory 8": memory(8, 2),
    "memory 10": memory(10, 2),
    "memory 2": memory(2, 8),  # both frames learn detection, and the loss between memories: the rest is pairs
    "pairs, mix": {"settings": MIX},
    "memory 4, mix": memory(4, 4, **MIX),
    "memory 4, no switches": memory(4, 4, SWITCHED=0.0),
    "memory 8, no switches": memory(8, 2, SWITCHED=0.0),
    "memory 4, no switches, no loss between memories": memory(4, 4, SWITCHED=0.0, BETWEEN=0.0),
    "memory 4, no switches, contrastive x 2": memory(
        4, 4, SWITCHED=0.0, **{"loss.contrastive": 2.0, "loss.auxiliary": 3.0}
    ),
    "memory 4, average only": memory(4, 4, AVERAGED=1.0),
    "memory 4, last only": memory(4, 4, AVERAGED=0.0),
    "memory 4, no loss between memories": memory(4, 4, BETWEEN=0.0),
    "memory 4, contrastive x .7": memory(4, 4, **{"loss.contrastive": 0.7, "loss.auxiliary": 1.05}),
    "memory 4, memory detached": memory(4, 4, DETACHED=1.0),
}
FIGURES = (
    "AP",
    "HOTA",
    "switches",
    "shuffled AP",
    "AP sim",
    "switches sim",
    "AP sim 10",
    "switches sim 10",
    "AP nms",
    "switches nms",
    "AP sim nms",
    "switches sim nms",
    "mask AP",
)


def config_of(name, arm, seed):
    """The stage's settings: the toy recipe's step 3, or that of shapes.yaml, with those of an arm."""
    from idolctl.config.library import load_recipe
    from idolctl.config.resolve import resolve

    settings = {**arm["settings"], "solver.seed": seed, "solver.iterations": 10**7, "data.workers": 1}
    if "data.mix.share" in settings:
        crop = "{probability: 0.5, size: [72, 112], resize: [96]}"
        if name == "shapes":
            crop = "{probability: 0.5, size: [108, 168], resize: [144]}"
        settings |= {"data.mix.crop": crop, "data.mix.images.name": "toy_images_train"}  # of shapes: see sources_of
    recipe = load_recipe("toy" if name == "toy" else str(HERE.parent / "shapes.yaml"))
    (found,) = resolve(recipe, steps=(3,), assignments=[f"{key}={value}" for key, value in settings.items()])
    return found.config


def sources_of(name, config, options):
    """The configuration with all sets where they are, and the sets to score on: videos, and images."""
    from idol_core.config import DataSource

    if name == "toy":
        held = [DataSource("toy_val")]
        for seed in (1, 2):
            val = options.data / f"toy-{seed}/toy/vis/val"
            held.append(DataSource("", "vis", str(val / "JPEGImages"), str(val / "instances.json")))
        return config, held, DataSource("toy_images_val")
    train, val = (
        DataSource("", "vis", str(options.shapes / side / "JPEGImages"), str(options.shapes / side / "instances.json"))
        for side in ("train", "val")
    )
    mix = dataclasses.replace(config.data.mix, images=train)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train, val=val, mix=mix)), [val], val


def patch(constants):
    """Set the constants of the losses; BETWEEN weights the loss between memories, DETACHED stops its gradient."""
    import idol_core.losses.criterion as criterion
    import idol_core.losses.memory as losses

    between, detached = constants.pop("BETWEEN", 1.0), constants.pop("DETACHED", 0.0)
    for constant, value in constants.items():
        setattr(losses, constant, value)
    sums, remember = losses.memory_losses, losses.remember

    def weighted(*arguments):
        found = sums(*arguments)
        return {**found, "loss_reid_memory": between * found["loss_reid_memory"]}

    def without_gradient(*arguments):
        found = remember(*arguments)
        return found._replace(embeddings=found.embeddings.detach())

    criterion.memory_losses = weighted
    if detached:
        losses.remember = without_gradient


def train(config, root, start, device, seconds, iterations):
    """Train for so many seconds, or iterations if given; returns the model, and iterations and seconds it took.

    On a CPU the seconds are of this process's processor time, which other work on the machine does not change.
    `start`: a weights file, or None: from scratch.
    """
    import torch

    from idol_core.build import build_model
    from idol_core.data.loader import make_loader
    from idol_core.data.stage_sets import mixed_images, training_set
    from idol_core.engine.objective import Objective
    from idol_core.engine.optim import clip_gradients, make_optimizers, set_lr
    from idol_core.engine.train import seed_of
    from idol_core.losses.criterion import Criterion
    from idol_core.ops.precision import arithmetic
    from idol_core.weights import Classes, start_from

    train_set = training_set(config, root)
    mixed = mixed_images(config, root, train_set)
    solver = config.solver if iterations is None else dataclasses.replace(config.solver, iterations=iterations)
    torch.manual_seed(solver.seed)
    model = build_model(config.model)
    if start is not None:
        start_from(model, start, Classes(tuple(train_set.category_names), 3, {}))
    model.to(device).train()
    optimizers = make_optimizers(model, solver)
    objective = Objective(model, Criterion(config.loss), lambda total: total)
    clock = time.process_time if device == "cpu" else time.perf_counter
    begun = clock()
    for iteration, (batch,) in enumerate(make_loader(config, train_set, mixed)):
        now = clock()
        if iteration == MEASURED[0]:
            first = now
        if iteration >= MEASURED[1] and iterations is None:
            each = (now - first) / (iteration - MEASURED[0])
            total = iteration + max(1, round((begun + seconds - now) / each))
            solver = dataclasses.replace(solver, iterations=total)
        set_lr(optimizers, iteration, solver)
        torch.manual_seed(seed_of(solver.seed, iteration))
        seeds = [seed_of(solver.seed, iteration, item, 1) for item in range(len(batch.sample_ids))]
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        with arithmetic(torch.device(device), solver.precision):
            losses = objective(batch.to(device), generators)
        sum(losses.values()).backward()
        clip_gradients(model, solver.clip_norm)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        if iteration + 1 >= solver.iterations:
            break
    if device == "cuda":
        torch.cuda.synchronize()
    return model, iteration + 1, clock() - begun


def scores(config, model, root, held, pictures, device):
    """FIGURES: the mean over the video sets `held`, switches added up, and mask AP on the set `pictures`, if any."""
    import numpy as np

    from idol_core.data.catalog import resolve_source
    from idol_core.data.dataset import open_dataset
    from idol_core.data.images import as_images
    from idol_core.errors import Missing
    from idol_core.evaluation.coco_ap import evaluate_coco
    from idol_core.evaluation.id_switches import identity_switches
    from idol_core.evaluation.identity import evaluate_identity
    from idol_core.evaluation.occlusion import GROUPS, occlusion_scores
    from idol_core.evaluation.overlaps import compare
    from idol_core.evaluation.video_ap import evaluate_vis
    from idol_core.inference.datasets import infer_images, read_frames
    from idol_core.inference.streaming import VideoSegmenter
    from idol_core.tracking.records import add_frame
    from idol_core.tracking.tracker import Tracker
    from idol_core.tracking.tracks import VideoAssembler

    found, groups = [], []
    for source in held:
        dataset = open_dataset(resolve_source(source, root))
        segmenter = VideoSegmenter(
            model, tracker=config.tracker, input=config.input, classes=dataset.category_names, device=device,
            precision="float32",
        )  # fmt: skip
        records = [
            segmenter.record(read_frames(video.file_names, (video.height, video.width))) for video in dataset.videos
        ]

        def tracked(settings, order=lambda n: np.arange(n), records=records, dataset=dataset):
            results = []
            for row, record in enumerate(records):
                tracker, assembler = Tracker(settings), VideoAssembler(settings)
                for frame in record.frames:
                    embeddings = frame.embeddings[order(len(frame.scores))]
                    add_frame(assembler, frame, tracker.associate(frame.scores, embeddings, frame.overlaps))
                tracks = assembler.finish(record.size)
                results += tracks.results(dataset.videos[row].id, dataset.category_ids, settings)
            ap = 100 * evaluate_vis(dataset.index, results).stats["AP"]
            return ap, sum(one.switches for one in identity_switches(dataset.index, results).values()), results

        ap, switches, results = tracked(config.tracker)
        hota = evaluate_identity(dataset.index, results, threshold=0.2).combined["HOTA"]
        shuffled = tracked(config.tracker, np.random.default_rng(0).permutation)[0]
        similar = dataclasses.replace(config.tracker, similarity_weighting=True)
        others = (
            similar,
            dataclasses.replace(similar, memory_length=10),
            dataclasses.replace(config.tracker, mask_nms=0.3),
            dataclasses.replace(similar, mask_nms=0.3),
        )
        found.append((ap, hota, switches, shuffled, *(x for other in others for x in tracked(other)[:2])))
        with contextlib.suppress(Missing):  # no occlusion levels
            groups.append(occlusion_scores(compare(dataset.index, results)))
    columns = dict(zip(FIGURES[:-1], zip(*found, strict=True), strict=True))
    by_occlusion = {
        f"AP {group}": 100 * statistics.fmean(one[group]["AP"] for one in groups) for group in GROUPS if groups
    }
    means = by_occlusion | {
        name: sum(c) if name.startswith("switches") else statistics.fmean(c) for name, c in columns.items()
    }
    if pictures is None:
        return means
    images = as_images(open_dataset(resolve_source(pictures, root)))
    masks = infer_images(model, images, input=config.input, device=device, on_progress=lambda *_: None)
    return {**means, "mask AP": 100 * evaluate_coco(images.index, masks).stats["AP"]}


def child(options):
    """One run, in a process of its own; writes its figures."""
    name, arm, seed = options.child.split("|")
    chosen = ARMS[arm]
    patch(dict(chosen.get("constants", {})))
    config, *held = sources_of(name, config_of(name, chosen, int(seed)), options)
    model, iterations, seconds = train(
        config, options.data, options.start, options.device, options.seconds, options.iterations
    )
    began = time.perf_counter()
    found = scores(config, model, options.data, *held, options.device)
    found |= {"iterations": iterations, "seconds": seconds, "scoring": time.perf_counter() - began}
    write_result(result_file(options, name, arm, seed), found)


def result_file(options, name, arm, seed):
    safe = "".join(c if c.isalnum() else "-" for c in arm)
    return options.out / f"{name}_{safe}_{seed}.json"


def run_all(options):
    from idol_core.data.toy.make import make_toy

    options.out.mkdir(parents=True, exist_ok=True)
    if "toy" in options.sets:
        with ProcessPoolExecutor(min(options.jobs, 3)) as pool:
            for seed, folder in enumerate((options.data, options.data / "toy-1", options.data / "toy-2")):
                pool.submit(make_toy, folder, seed=seed)
    jobs = {
        f"{name}|{arm}|{seed}": result_file(options, name, arm, seed)
        for seed in options.seeds for arm in options.only for name in options.sets
    }  # fmt: skip
    run_jobs(HERE, jobs, options, passed=("start", "data", "shapes", "out", "device", "seconds"), stop=options.stop)


def run_jobs(script, jobs, options, *, passed, threads=1, stop=math.inf):
    """Run `script --child JOB` for each of `jobs` (JOB: its result file) without a result, `options.jobs` at once.

    `passed` are the options to pass on. After `stop` seconds none is begun. The output of each lies beside its result.
    """
    began = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    same = [word for key in passed for word in (f"--{key}", str(getattr(options, key)))]
    same += ["--iterations", str(options.iterations)] if options.iterations else []

    def run(job):
        if jobs[job].is_file() or time.monotonic() - began > stop:
            return
        log = jobs[job].with_suffix(".log")
        words = [sys.executable, str(script), "--child", job, *same]
        with open(log, "w") as file:
            code = subprocess.run(words, env=environment, stdout=file, stderr=file).returncode
        print(f"{time.monotonic() - began:.0f} s: {job}: exit {code}", file=sys.stderr, flush=True)
        if code:
            print("\n".join(log.read_text().splitlines()[-5:]), file=sys.stderr, flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, jobs))


def write_result(path, found):
    """Write a run's figures, so that the file is there only when it is whole."""
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").rename(path)


def told(values, sign=""):
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.1f}{spread}"


def print_tables(options):
    from idol_core.evaluation.occlusion import GROUPS

    for name in options.sets:
        rows = {
            arm: results_of({seed: result_file(options, name, arm, seed) for seed in options.seeds})
            for arm in options.only
        }
        kinds = (f"AP {group}" for group in GROUPS)
        figures = [
            *FIGURES,
            *(kind for kind in kinds if any(kind in one for found in rows.values() for one in found.values())),
        ]
        print(f"\n{name}: mean ± spread over seeds; AP - pairs: seed by seed\n")
        print_rows(rows, name, figures, base="pairs")


def results_of(files):
    """The figures of each seed whose run has ended; `files`: seed -> its result file."""
    return {seed: json.loads(path.read_text()) for seed, path in files.items() if path.is_file()}


def print_rows(rows, head, figures, *, base):
    """A Markdown table with a line an arm, mean ± spread over its seeds, and its AP less that of the arm `base`."""
    print(f"| {head} | {' | '.join(figures)} | AP - {base} | seeds | iterations | seconds |")
    print("|---" * (len(figures) + 5) + "|")
    of_base = rows.get(base, {})
    for arm, found in rows.items():
        if not found:
            continue
        cells = [told([one[figure] for one in found.values()]) for figure in figures]
        gains = [found[seed]["AP"] - of_base[seed]["AP"] for seed in found if seed in of_base and arm != base]
        cells += [told(gains, "+") if gains else "", str(len(found))]
        cells += [f"{statistics.fmean(one[key] for one in found.values()):.0f}" for key in ("iterations", "seconds")]
        print(f"| {arm} | {' | '.join(cells)} |")


def run_options(parser, *, out, arms, chosen, seconds):
    """Add the options that say which runs there are and how they are run."""
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--only", nargs="+", choices=arms, default=chosen, metavar="ARM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="of training, for every run; on a CPU: of its processor time"
    )
    parser.add_argument(
        "--iterations", type=int, help="instead of seconds, on a machine that does other work meanwhile"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--child", help=argparse.SUPPRESS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="weights of step 2 of the toy recipe")
    parser.add_argument("--data", type=Path, default=Path("datasets"), help="data root; the toy sets are made there")
    parser.add_argument(
        "--shapes", type=Path, default=HERE.parents[2] / "shared/shapes", help="folder of the set shapes"
    )
    parser.add_argument("--sets", nargs="+", choices=("toy", "shapes"), default=["toy", "shapes"])
    parser.add_argument("--stop", type=float, default=1e9, help="begin no run after so many seconds")
    run_options(parser, out=Path("runs/association"), arms=list(ARMS), chosen=list(ARMS), seconds=400)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    run_all(options)
    print_tables(options)


if __name__ == "__main__":
    main()
