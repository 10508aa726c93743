"""What reduced precision costs: the recorded ResNet-50 forward passes in other formats, and video AP on toy.

    python benchmarks/precision.py                                  # worst deviation of every output from the recording
    python benchmarks/precision.py --weights runs/toy-tiny/weights.safetensors --root datasets    # and toy's video AP

bf16 and fp16 are autocast, as `solver.precision` and `VideoSegmenter(autocast=)` use it. Asserts nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from idol_core.structures import Decoded, FrameBatch
from tests.parity import kit
from tests.parity.network import filled_model, frame_batch

FORMATS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYOUTS = ("channels-last", "contiguous")  # of the backbone; the first is what the model does
OUTPUTS = ("pred_logits", "pred_boxes", "pred_inst_embed", "pred_masks")


def outputs(model: torch.nn.Module, frames: FrameBatch, queries: Tensor) -> dict[str, Tensor]:
    """The recorded outputs, float32."""
    decoded: Decoded = model(frames)
    b, n = queries.shape
    row = torch.arange(b).repeat_interleave(n)
    last = torch.full_like(row, len(decoded.logits) - 1)
    masks = model.mask_logits(decoded, model.mask_features(decoded), last, row, queries.flatten())
    return {
        "pred_logits": decoded.logits[-1].float(),
        "pred_boxes": decoded.boxes[-1].float(),
        "pred_inst_embed": model.embed(decoded.queries[-1]).float(),
        "pred_masks": masks.float().unflatten(0, (b, n)),
    }


@torch.inference_mode()
def deviations(dtype: torch.dtype | None, *, channels_last: bool) -> dict[str, tuple[float, float]]:
    """Worst absolute deviation of every output over the recorded cases, and the largest recorded value beside it."""
    model = filled_model("ytvis19_r50")
    hook = (
        model.backbone.register_forward_pre_hook(lambda _, args: (args[0].contiguous(),)) if not channels_last else None
    )
    worst = dict.fromkeys(OUTPUTS, (0.0, 0.0))
    for case in kit.cases(kit.arrays("forward_r50")):
        images = [kit.make_image(seed, *size) for seed, size in zip(case["seeds"], case["sizes"].tolist(), strict=True)]
        context = torch.autocast("cpu", dtype) if dtype is not None else contextlib.nullcontext()
        with context:
            found = outputs(model, frame_batch(images), torch.from_numpy(case["mask_query_indices"]))
        for name in OUTPUTS:
            recorded = torch.from_numpy(case[name])
            deviation = (found[name] - recorded).abs().max().item()
            worst[name] = max(worst[name][0], deviation), max(worst[name][1], recorded.abs().max().item())
    if hook is not None:
        hook.remove()
    return worst


def toy_ap(weights: Path, root: Path, dtype: torch.dtype | None) -> float:
    from idol_core.config import DataSource
    from idol_core.data.catalog import resolve_source
    from idol_core.data.dataset import open_dataset
    from idol_core.engine.infer import infer_videos
    from idol_core.evaluation.vis_ap import evaluate_vis
    from idol_core.streaming import VideoSegmenter

    dataset = open_dataset(resolve_source(DataSource(name="toy_val"), root))
    segmenter = VideoSegmenter.from_pretrained(str(weights), autocast=dtype)
    results = infer_videos(segmenter, dataset, on_progress=lambda done, total: None)
    return 100 * evaluate_vis(dataset.source, results).stats["AP"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--root", type=Path, default=Path("datasets"))
    options = parser.parse_args()
    print(f"{'format':24s}" + "".join(f"{name:>18s}" for name in OUTPUTS))
    rows = [(f"{name}, {layout}", dtype, layout) for name, dtype in FORMATS.items() for layout in LAYOUTS]
    for name, dtype, layout in rows:
        found = deviations(dtype, channels_last=layout == "channels-last")
        print(f"{name:24s}" + "".join(f"{found[output][0]:18.2e}" for output in OUTPUTS), flush=True)
    print(f"{'largest recorded value':24s}" + "".join(f"{found[output][1]:18.2e}" for output in OUTPUTS))
    if options.weights:
        for name, dtype in FORMATS.items():
            print(f"toy video AP in {name}: {toy_ap(options.weights, options.root, dtype):.2f}", flush=True)


if __name__ == "__main__":
    main()
