"""What ImageNet weights of a backbone are worth: AP from them and from scratch, trained for the same time.

    python benchmarks/photos.py --material FOLDER --weights FILE.pth --batch 4 --seconds 240
    python benchmarks/photos.py --material FOLDER --weights FILE.pth --device cuda --jobs 6 --seconds 200

Where the weights are: recipes/backbones/efficientnet_lite0.yaml. The clips are composited from photographs
(benchmarks/photo_clips.py), which is not YouTube-VIS. Without the pictures, which are no part of the checkout, it says
how to get them. Seed s draws other clips, other pictures for validation and other initial weights. Every run is one
process, `--jobs` at once; what is in `--out` is not run again. Prints mean and spread over seeds, and the difference to
training from scratch, seed by seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from association import run_jobs, scores, told, train, write_result  # noqa: E402
from photo_clips import find_material, make_clips  # noqa: E402

from idol_core.errors import IdolError  # noqa: E402

SHOWN = ("AP", "HOTA", "switches", "shuffled AP")  # of association.FIGURES
SCRATCH = "from scratch"
# Arm: backbone, whether it starts from the weights, whether its batch norms learn, settings
ARMS = {
    SCRATCH: ("efficientnet_lite0", False, True, {}),
    "from ImageNet": ("efficientnet_lite0", True, False, {"solver.backbone_lr_factor": 0.1}),
    "from ImageNet, backbone frozen": ("efficientnet_lite0", True, False, {"model.freeze": "[backbone]"}),
    "the toy set's backbone, from scratch": ("tiny", False, False, {}),
}


def config_of(arm, seed, root, batch):
    """The stage's settings: photos.yaml's step 3 on the clips of a seed, with those of an arm."""
    from idol_core.config import DataSource
    from idolctl.config.library import load_recipe
    from idolctl.config.resolve import resolve

    backbone, _, _, settings = ARMS[arm]
    settings = {
        **settings,
        "solver.seed": seed,
        "solver.iterations": 10**7,
        "data.workers": 1,
        "solver.batch_size": batch,
    }
    assignments = [f"{key}={value}" for key, value in settings.items()]
    recipe = load_recipe(str(HERE.with_suffix(".yaml")))
    (found,) = resolve(recipe, steps=(3,), backbone=backbone, assignments=assignments)
    sources = {
        part: DataSource("", "vis", str(root / part / "JPEGImages"), str(root / part / "instances.json"))
        for part in ("train", "val")
    }
    data = dataclasses.replace(found.config.data, **sources)
    return dataclasses.replace(found.config, data=data)


def child(options):
    """One run, in a process of its own; writes its figures."""
    arm, seed = options.child.split("|")
    _, pretrained, norms_learn, _ = ARMS[arm]
    if norms_learn:  # frozen ones have seen no data: the network would be one without normalisation
        import idol_core.backbones.timm_network as timm_network

        timm_network._frozen_norms = lambda net: net
    config = config_of(arm, int(seed), data_of(options, seed), options.batch)
    start = options.weights if pretrained else None
    model, iterations, seconds = train(config, Path(), start, options.device, options.seconds, options.iterations)
    found = scores(config, model, Path(), [config.data.val], None, options.device)
    write_result(result_file(options, arm, seed), found | {"iterations": iterations, "seconds": seconds})


def data_of(options, seed):
    return options.out / f"data-{seed}"


def result_file(options, arm, seed):
    safe = "".join(c if c.isalnum() else "-" for c in arm)
    return options.out / f"{safe}_{seed}.json"


def run_all(options):
    material = find_material(options.material, options.out / "pictures")
    for seed in options.seeds:
        make_clips(material, data_of(options, seed), seed=seed, jobs=options.jobs)
    jobs = {f"{arm}|{seed}": result_file(options, arm, seed) for seed in options.seeds for arm in options.only}
    run_jobs(HERE, jobs, options, passed=("material", "weights", "out", "device", "seconds", "batch"),
             threads=options.threads)  # fmt: skip


def print_table(options):
    print("\ncomposited, not YouTube-VIS: mean ± spread over seeds; AP - scratch: mean ± spread of the differences\n")
    print(f"| training | {' | '.join(SHOWN)} | AP - scratch | seeds | iterations | seconds |")
    print("|---" * (len(SHOWN) + 5) + "|")
    rows = {}
    for arm in ARMS:
        files = {seed: result_file(options, arm, seed) for seed in options.seeds}
        rows[arm] = {seed: json.loads(path.read_text()) for seed, path in files.items() if path.is_file()}
    for arm, found in rows.items():
        if found:
            gains = [found[s]["AP"] - rows[SCRATCH][s]["AP"] for s in found if s in rows[SCRATCH] and arm != SCRATCH]
            cells = [told([one[figure] for one in found.values()]) for figure in SHOWN]
            cells += [told(gains, "+") if gains else "", str(len(found))]
            for key in ("iterations", "seconds"):
                cells.append(f"{sum(one[key] for one in found.values()) / len(found):.0f}")
            print(f"| {arm} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True, help="folder with the unpacked or packed pictures")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of EfficientNet-Lite0")
    parser.add_argument("--out", type=Path, default=Path("runs/photos"))
    parser.add_argument("--only", nargs="+", choices=list(ARMS), default=list(ARMS)[:2], metavar="ARM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=240, help="of training; on a CPU: of its processor time")
    parser.add_argument("--iterations", type=int, help="instead of seconds")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--batch", type=int, default=8, help="pairs of frames a batch; 4 on a CPU")
    parser.add_argument("--threads", type=int, default=1, help="of a run on the CPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    run_all(options)
    print_table(options)


if __name__ == "__main__":
    try:
        main()
    except IdolError as error:
        sys.exit(f"error: {error.what}\nwhere: {error.where}\nfix: {error.fix}")
