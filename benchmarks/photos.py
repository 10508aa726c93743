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
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from association import print_rows, results_of, run_jobs, run_options, scores, train, write_result  # noqa: E402
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
    print(
        "\ncomposited, not YouTube-VIS: mean ± spread over seeds; AP - from scratch: mean ± spread of the differences\n"
    )
    rows = {arm: results_of({seed: result_file(options, arm, seed) for seed in options.seeds}) for arm in ARMS}
    print_rows(rows, "training", SHOWN, base=SCRATCH)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True, help="folder with the unpacked or packed pictures")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of EfficientNet-Lite0")
    run_options(parser, out=Path("runs/photos"), arms=list(ARMS), chosen=list(ARMS)[:2], seconds=240)
    parser.add_argument("--batch", type=int, default=8, help="pairs of frames a batch; 4 on a CPU")
    parser.add_argument("--threads", type=int, default=1, help="of a run on the CPU")
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
