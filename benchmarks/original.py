"""Time the published code (wjf5203/VNext, projects/IDOL, R50, random weights) on the frames and pairs of idolctl bench.

    python benchmarks/original.py infer --checkout VNext --size 480x853 --frames 40
    python benchmarks/original.py train --checkout VNext --size 480x768 --pairs 4 --steps 8

Needs a checkout with its operator built, and iopath, yacs, omegaconf, termcolor, fvcore, timm. torch 2.11 refuses three
of its lines: `value.type()` in the operator's sources (write `value.scalar_type()` and `value.is_cuda()`), and in
projects/IDOL/idol/idol.py masks on the CPU indexed by indices on the GPU, `output_mask[indices]` (write
`output_mask[indices.to(output_mask.device)]`). Nothing else is changed.

Inference is IDOL.forward in evaluation mode: clips of 10 frames, tracker, masks merged on the CPU, as published, but
not the resizing of frames. A training step is forward, matching, losses, backward, clipping and AdamW, as published.
Prints a line. On a CPU the operator is replaced by the published PyTorch function.
"""

import argparse
import logging
import math
import random
import statistics
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import torch

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def _stub(name, **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module


def load(checkout, device):
    """The published modules; on a CPU their deformable attention is replaced by its own pure PyTorch function."""
    sys.path[:0] = [str(checkout), str(checkout / "projects/IDOL")]
    PIL.Image.LINEAR = PIL.Image.BILINEAR  # its name until Pillow 10
    _stub("pycocotools.ytvos", YTVOS=None)  # imported by the evaluator, which does not run
    _stub("pycocotools.ytvoseval", YTVOSeval=None)
    if device.type == "cuda":
        libraries = sorted(checkout.rglob("MultiScaleDeformableAttention*.so"))
        sys.path[:0] = [str(path.parent) for path in libraries[-1:]]
        import MultiScaleDeformableAttention  # noqa: F401
    else:
        _stub("MultiScaleDeformableAttention")
    import detectron2.projects  # noqa: F401  makes detectron2.projects.idol findable
    import train_net

    if device.type != "cuda":
        from detectron2.projects.idol.models.ops.functions import ms_deform_attn_func as functions
        from detectron2.projects.idol.models.ops.modules import ms_deform_attn as module

        class OnCpu:
            @staticmethod
            def apply(value, shapes, starts, locations, weights, step):
                assert all(t.is_contiguous() for t in (value, shapes, starts, locations, weights))
                assert value.shape[0] % min(value.shape[0], step) == 0
                return functions.ms_deform_attn_core_pytorch(value, shapes, locations, weights)

        module.MSDeformAttnFunction = OnCpu
    return train_net


def build(checkout, device, *options):
    train_net = load(checkout, device)
    from detectron2.modeling import build_model

    cfg = train_net.get_cfg()
    train_net.add_idol_config(cfg)
    cfg.merge_from_file(str(checkout / "projects/IDOL/configs/ytvis19_r50.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", str(device), "MODEL.WEIGHTS", "", *options])
    cfg.freeze()
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK  # as default_setup does: False
    model = build_model(cfg)
    return train_net, cfg, model


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(work, device):
    wait(device)
    began = time.perf_counter()
    result = work()
    wait(device)
    return time.perf_counter() - began, result


# ---- inference ----


def video(size, frames):
    """What the published test mapper gives, as if the file had this size; the scene of idolctl's benchmark."""
    height, width = size
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3))
    scene = np.kron(scene, np.ones((16, 16, 1))).astype(np.uint8)
    images = [scene[t : t + height, 2 * t : 2 * t + width] for t in (i % 8 for i in range(frames))]
    return [
        {
            "image": [torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images],
            "file_names": [f"{i:05}.jpg" for i in range(frames)],
            "height": height,
            "width": width,
            "video_id": 1,
            "length": frames,
        }
    ]


@torch.no_grad()
def prepare(model, sample, selected):
    """Set the last layers' biases and scales so that `selected` queries a frame are tracked from frame to frame.

    Of the same random weights as before otherwise; what a frame costs depends on how many queries are selected,
    survive suppression and find their track again, so these are made as in a trained model.
    """
    head = model.detr
    # masks: a diamond of 48 pixels around the query's reference point, so that suppression keeps most of them
    layer = head.controller.layers[-1]
    layer.weight.mul_(0.002)
    bias = torch.zeros_like(layer.bias)
    first, second, third = (at for at in np.cumsum([0, *head.weight_nums])[:3])
    inputs, hidden = head.in_channels + 2, head.dynamic_mask_channels
    for row, (axis, sign) in enumerate(((0, 1), (0, -1), (1, 1), (1, -1))):
        bias[int(first) + row * inputs + axis] = sign * 0.02
        bias[int(second) + row] = 1.0
    assert second - first == inputs * hidden
    bias[int(third)] = -1.0
    bias[-1] = 0.02 * 48
    layer.bias.copy_(bias)
    out = head.inference_forward(model.preprocess_image(sample))
    # embeddings: of mean zero, and long enough that a query's product with itself wins the softmax
    layer = head.reid_embed_head.layers[-1]
    embed = out["pred_inst_embed"]
    mean = embed.mean((0, 1))
    scale = math.sqrt(40.0) / float((embed - mean).norm(dim=-1).mean())
    layer.weight.mul_(scale)
    layer.bias.sub_(mean).mul_(scale)
    # scores: `selected` queries above 0.25, the others below
    best = out["pred_logits"].amax(-1).mean(0).sort(descending=True).values
    middle = float(best[selected - 1] + best[selected]) / 2
    head.detr.class_embed[-1].bias.add_(math.log(0.25 / 0.75) - middle)
    model.inference_select_thres = 0.25


@torch.no_grad()
def infer(args, device):
    options = ("MODEL.IDOL.MERGE_ON_CPU", False) if args.merge_on_gpu else ()
    _, _, model = build(args.checkout, device, *options)
    model.eval()
    clip = model.batch_infer_len
    shown = video(args.size, args.frames)
    head = [{**shown[0], **{k: shown[0][k][:clip] for k in ("image", "file_names")}}]
    prepare(model, head, args.selected)

    tracked = []
    match = sys.modules[type(model).__module__].IDOL_Tracker.match

    def counting(self, *a, **k):  # counts in the warm-up only
        result = match(self, *a, **k)
        tracked.append((len(k["indices"]), int((result[2] > -1).sum())))
        return result

    tracker = sys.modules[type(model).__module__].IDOL_Tracker
    tracker.match = counting
    warm, output = timed(lambda: model(shown), device)  # warm-up
    tracker.match = match
    masks = {id(track): sum(m is not None for m in track) for track in output["pred_masks"]}
    if args.verbose:
        print(tracked, sorted(masks.values()), file=sys.stderr)
    del output
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    spent, began = [], time.perf_counter()
    least = 1 if warm > 12 else 2  # to end within 40 s
    while len(spent) < least or (time.perf_counter() - began < args.budget and len(spent) < 9):
        spent.append(timed(lambda: model(shown), device)[0])
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else math.nan

    def network():
        for start in range(0, args.frames, clip):
            model.detr.inference_forward(model.preprocess_image([{"image": shown[0]["image"][start : start + clip]}]))

    alone = statistics.median(timed(network, device)[0] for _ in range(2 if device.type == "cuda" else 1))
    taken = statistics.median(spent)
    count, frames = len(tracked), args.frames
    print(
        f"original infer r50 {args.size[0]}x{args.size[1]} {where(device, args)} masks merged on "
        f"{'cpu' if args.frames > clip and not args.merge_on_gpu else device.type}: {frames / taken:.2f} frames/s "
        f"(median of {len(spent)} videos of {frames} frames, {frames / max(spent):.2f} to {frames / min(spent):.2f}; "
        f"network alone {frames / alone:.2f} frames/s; a frame: {sum(a for a, _ in tracked) / count:.1f} selected, "
        f"{sum(b for _, b in tracked) / count:.1f} tracked, {sum(masks.values()) / frames:.1f} masks in the result; "
        f"{len(masks)} tracks; peak {peak:.0f} MiB)"
    )


# ---- training ----


def random_pairs(pairs, size, classes, device, instances=4):
    """The pairs of idolctl.bench.training.random_pairs, in the form of the published mapper; on the device already."""
    from detectron2.structures import BitMasks, Boxes, Instances

    height, width = size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2 * pairs, 3, height, width), dtype=torch.uint8, generator=generator)
    centre = torch.rand(2 * pairs, instances, 2, generator=generator) * 0.6 + 0.2
    extent = torch.rand(2 * pairs, instances, 2, generator=generator) * 0.2 + 0.1
    labels = torch.randint(classes, (pairs, instances), generator=generator).repeat_interleave(2, 0)
    x, y = ((torch.arange(side) + 0.5) / side for side in (width, height))
    near_x, near_y = ((axis - centre[..., i, None]).abs() < extent[..., i, None] / 2 for i, axis in enumerate((x, y)))
    masks = near_y[..., :, None] & near_x[..., None, :]
    scale = torch.tensor([width, height, width, height])
    boxes = torch.cat((centre - extent / 2, centre + extent / 2), -1) * scale

    def frame(i):
        found = Instances((height, width))
        found.gt_boxes = Boxes(boxes[i])
        found.gt_classes = labels[i]
        found.gt_ids = torch.arange(instances)
        found.gt_masks = BitMasks(masks[i])
        return found.to(device)

    return [
        {
            "image": [images[i].to(device) for i in pair],
            "instances": [frame(i) for i in pair],
            "height": height,
            "width": width,
        }
        for pair in ((2 * p, 2 * p + 1) for p in range(pairs))
    ]


def train(args, device):
    train_net, cfg, model = build(args.checkout, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model.train()
    optimizer = train_net.Trainer.build_optimizer(
        cfg, model
    )  # AdamW; its step clips the whole model's gradient at 0.01
    data = random_pairs(args.pairs, args.size, cfg.MODEL.IDOL.NUM_CLASSES, device)

    def step():  # SimpleTrainer.run_step without data loading and logging
        loss_dict = model(data)
        losses = sum(loss_dict.values())
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        return losses

    for _ in range(args.warmup):
        step()
    spent = []
    for _ in range(args.steps):
        taken, losses = timed(step, device)
        spent.append(taken)
    taken = statistics.median(spent)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else math.nan
    print(
        f"original train r50 {args.size[0]}x{args.size[1]} {where(device, args)} {args.pairs} pairs: "
        f"{args.pairs / taken:.3f} pairs/s (median of {args.steps} steps: {taken:.3f} s, {min(spent):.3f} to "
        f"{max(spent):.3f}; loss {float(losses.detach()):.2f}; peak {peak:.0f} MiB)"
    )


def where(device, args):
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return f"{name} fp32{' tf32 products' if args.tf32 else ''}"


def size(text):
    height, width = text.lower().split("x")
    return int(height), int(width)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("infer", "train"))
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--size", type=size, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--selected", type=int, default=10)
    parser.add_argument("--merge-on-gpu", action="store_true")
    parser.add_argument(
        "--budget",
        type=float,
        default=7.0,
        help="seconds of timed videos; at least two are timed, one if they are slow",
    )
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    (infer if args.what == "infer" else train)(args, device)


if __name__ == "__main__":
    main()
