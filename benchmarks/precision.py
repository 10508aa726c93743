"""What reduced precision costs: the recorded ResNet-50 forward passes in other formats, and video AP on toy.

    python benchmarks/precision.py                                  # worst deviation of every output from the recording
    python benchmarks/precision.py --weights runs/toy-tiny/weights.safetensors --root datasets    # and toy's video AP

bf16 and fp16 are autocast, as `solver.precision` and `VideoSegmenter(precision=)` use it. Asserts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from tests.parity import kit
from tests.parity.network import filled_model
from tests.parity.test_forward import OUTPUTS, observe

FORMATS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYOUTS = ("channels-last", "contiguous")  # of the backbone; the first is what the model does


def deviations(dtype: torch.dtype | None, *, channels_last: bool) -> dict[str, tuple[float, float]]:
    """Worst absolute deviation of every output over the recorded cases, and the largest recorded value beside it."""
    backbone = filled_model("ytvis19_r50").backbone
    hook = backbone.register_forward_pre_hook(lambda _, args: args if channels_last else (args[0].contiguous(),))
    worst = dict.fromkeys(OUTPUTS, (0.0, 0.0))
    for case in kit.cases(kit.arrays("forward_r50")):
        with torch.autocast("cpu", dtype) if dtype is not None else contextlib.nullcontext():
            found = observe("ytvis19_r50", case)
        for name in OUTPUTS:
            recorded = torch.from_numpy(case[name])
            deviation = (found[name].float() - recorded).abs().max().item()
            worst[name] = max(worst[name][0], deviation), max(worst[name][1], recorded.abs().max().item())
    hook.remove()
    return worst


def toy_ap(weights: Path, root: Path, precision: str) -> float:
    from idol_core.config import DataSource
    from idol_core.data.catalog import resolve_source
    from idol_core.data.dataset import open_dataset
    from idol_core.evaluation.video_ap import evaluate_vis
    from idol_core.inference.datasets import infer_videos
    from idol_core.inference.streaming import VideoSegmenter

    dataset = open_dataset(resolve_source(DataSource(name="toy_val"), root))
    segmenter = VideoSegmenter.from_pretrained(str(weights), precision=precision)
    results = infer_videos(segmenter, dataset, on_progress=lambda done, total: None)
    return 100 * evaluate_vis(dataset.source, results).stats["AP"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--root", type=Path, default=Path("datasets"))
    options = parser.parse_args()
    shown = [name.removeprefix("pred_").removesuffix("_all_queries") for name in OUTPUTS]
    print(f"{'format':24s}" + "".join(f"{name:>18s}" for name in shown))
    rows = [(f"{name}, {layout}", dtype, layout) for name, dtype in FORMATS.items() for layout in LAYOUTS]
    for name, dtype, layout in rows:
        found = deviations(dtype, channels_last=layout == "channels-last")
        print(f"{name:24s}" + "".join(f"{found[output][0]:18.2e}" for output in OUTPUTS), flush=True)
    print(f"{'largest recorded value':24s}" + "".join(f"{found[output][1]:18.2e}" for output in OUTPUTS))
    if options.weights:
        for name in FORMATS:
            print(f"toy video AP in {name}: {toy_ap(options.weights, options.root, name):.2f}", flush=True)


if __name__ == "__main__":
    main()
