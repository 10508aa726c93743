"""Where the time of inference goes: backbone, encoder, decoder, masks, tracker, encode; and frames a second.

    python benchmarks/inference.py                                         # everything; minutes on a GPU, long on a CPU
    python benchmarks/inference.py --models r50 --batches 1 --sizes 360x640 --frames 5

Random weights, random frames; a fixed number of queries goes on to the masks and to the tracker. `encoder` contains the
projection of the pyramid; `decode` is a frame's JPEG; `encode` turns masks into run lengths of the original size.
Each figure is the median over the batches, in milliseconds a frame. Asserts nothing.
"""

from __future__ import annotations

import argparse
import io
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from idol_core.system.cpu import configure_threads

THREADS = configure_threads()

import numpy as np  # noqa: E402  (after the thread settings)
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from idol_core.build import build_model  # noqa: E402
from idol_core.config import InputConfig, ModelConfig, SwinConfig, TrackerConfig  # noqa: E402
from idol_core.data.collate import collate_frames  # noqa: E402
from idol_core.data.transforms import resize_for_test  # noqa: E402
from idol_core.model.idol import IDOL  # noqa: E402
from idol_core.ops.pixels import normalized  # noqa: E402
from idol_core.structures import Decoded, Detections  # noqa: E402
from idol_core.tracking.masks import encode_masks  # noqa: E402
from idol_core.tracking.tracker import Tracker  # noqa: E402

PARTS = ("decode", "prepare", "backbone", "encoder", "decoder", "masks", "tracker", "encode")
FORWARD = ("backbone", "encoder", "decoder", "masks")
AFTER = ("tracker", "encode")
MODELS = {"r50": ModelConfig(), "swinl": ModelConfig(backbone=SwinConfig())}


class Clock:
    """Milliseconds of each part, round by round."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.spent = device, {part: [] for part in PARTS}

    def time(self, part: str, work: Callable[[], object]) -> object:
        self._wait()
        start = time.perf_counter()
        result = work()
        self._wait()
        self.spent[part].append(1000 * (time.perf_counter() - start))
        return result

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def detections(model: IDOL, decoded: Decoded, queries: int) -> list[Detections]:
    """As select_detections, with a given number of queries of every frame."""
    frames = decoded.sizes.shape[0]
    device = decoded.memory.device
    row = torch.arange(frames, device=device).repeat_interleave(queries)
    query = torch.arange(queries, device=device).repeat(frames)
    layer = torch.full_like(query, len(decoded.logits) - 1)
    masks = model.mask_logits(decoded, model.mask_features(decoded), layer, row, query)
    probs = decoded.logits[-1, row, query].sigmoid()
    scores, labels = probs.max(-1)
    fields = (scores, labels, probs, decoded.boxes[-1, row, query], model.embed(decoded.queries[-1, row, query]), masks)
    parts = zip(*(torch.split(field, queries) for field in fields), strict=True)
    return [Detections(*part) for part in parts]


@torch.inference_mode()
def measure(model: IDOL, size: tuple[int, int], batch: int, options: argparse.Namespace, device: torch.device) -> Clock:
    height, width = size
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)), np.ones((16, 16, 1)))
    stored = io.BytesIO()
    Image.fromarray(scene[:height, :width].astype(np.uint8)).save(stored, "JPEG", quality=90)

    input = InputConfig(test_short_side=min(size), test_max_size=max(size))
    tracker = Tracker(TrackerConfig(init_threshold=0.0, new_threshold=0.0))
    clock = Clock(device)
    for _ in range(options.warm_up + math.ceil(options.frames / batch)):
        frames = clock.time(
            "decode", lambda: [np.array(Image.open(io.BytesIO(stored.getvalue()))) for _ in range(batch)]
        )
        images = [resize_for_test(frame, input) for frame in frames]
        sent = clock.time("prepare", lambda f=frames: collate_frames(
            [resize_for_test(frame, input) for frame in f], config=input).to(device))  # fmt: skip
        channels_last = normalized(sent).images.contiguous(memory_format=torch.channels_last)
        levels = clock.time("backbone", lambda x=channels_last: model.backbone(x))

        def encode(maps=levels, padding=sent.padding) -> tuple:
            pyramid = model.pyramid(maps, padding)
            return pyramid, model.encoder(pyramid)

        pyramid, memory = clock.time("encoder", encode)
        out = clock.time("decoder", lambda m=memory, p=pyramid: model.decoder(m, p))
        decoded = Decoded(
            out.queries, out.logits, out.boxes, out.references, memory, pyramid.level_shapes, sent.sizes
        )  # fmt: skip
        found = clock.time("masks", lambda d=decoded: detections(model, d, options.queries))
        clock.time("tracker", lambda f=found: [tracker.step(one) for one in f])
        size_in = images[0].shape[-2:]
        clock.time("encode", lambda f=found, s=size_in: [encode_masks(one.mask_logits, s, size) for one in f])
    clock.spent = {part: [ms / batch for ms in values[options.warm_up :]] for part, values in clock.spent.items()}
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--sizes", nargs="+", default=["360x640", "480x853"], help="HEIGHTxWIDTH")
    parser.add_argument("--devices", nargs="+", default=["cpu"] + ["cuda"] * torch.cuda.is_available())
    parser.add_argument("--queries", type=int, default=10, help="queries of a frame that go on to masks and tracker")
    parser.add_argument("--frames", type=int, default=16, help="frames timed for each line, in whole batches")
    parser.add_argument("--warm-up", type=int, default=1, help="batches before that")
    options = parser.parse_args()
    print(f"ms a frame; {options.queries} detections a frame, {THREADS} threads\n")
    print("model device  size    batch " + " ".join(f"{part:>9s}" for part in PARTS) + "  frames/s  after/forward")
    for name in options.models:
        torch.manual_seed(0)
        model = build_model(MODELS[name]).eval()
        for device in map(torch.device, options.devices):
            model.to(device)
            for text in options.sizes:
                height, width = (int(side) for side in text.split("x"))
                for batch in options.batches:
                    clock = measure(model, (height, width), batch, options, device)
                    median = {part: statistics.median(values) for part, values in clock.spent.items()}
                    share = sum(median[p] for p in AFTER) / sum(median[p] for p in FORWARD)
                    cells = " ".join(f"{median[part]:9.2f}" for part in PARTS)
                    print(f"{name:5s} {device!s:6s} {text:9s} {batch:3d} {cells} {1000 / sum(median.values()):9.2f}"
                          f" {100 * share:12.1f} %", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
