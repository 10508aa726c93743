"""Compare an exported file with the network it was made from: the same frames through its runtime and torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from idol_core.config import Precision, StageConfig
from idol_core.data.collate import collate_frames
from idol_core.data.transforms import resize_for_test
from idol_core.errors import IdolError
from idol_core.inference.exported import ExportedModel
from idol_core.inference.select import class_logits_and_boxes, select_queries
from idol_core.model.idol import IDOL
from idol_core.tracking.masks import Size


class Allowed(NamedTuple):
    """Largest allowed deviation: `absolute`, or `of_largest` times the largest number of its kind, if that is more."""

    absolute: float
    of_largest: float = 0.0


# As in tests/parity. Mask logits grow with positions in pixels, to over 1000 in a random network; rounding does, too.
ALLOWED = {
    "class logits": Allowed(1e-4),
    "boxes": Allowed(1e-5),
    "embeddings": Allowed(1e-4, 1e-5),
    "mask logits": Allowed(1e-3, 1e-5),
    "selected queries that differ": Allowed(0),
}
# Several times what is seen of r50 and Swin-L with random weights and of the trained toy model on its validation set.
ALLOWED_FLOAT16 = {
    "class logits": Allowed(0.1),
    "boxes": Allowed(0.01),
    "embeddings": Allowed(0.05, 0.02),
    "mask logits": Allowed(0.1, 0.01),
    "selected queries that differ": Allowed(2, 0.05),
}
_ROUNDING = 2e-3  # of a probability: 2e-7 counts as 1e-4 of its logit, however small or large the probability is

_AT_ONCE = 50  # queries whose masks torch computes at once; all of them would take the most memory of the export


class Deviation(NamedTuple):
    """Largest difference between the exported file and torch over all compared frames."""

    about: str
    largest: float
    allowed: float

    @property
    def fits(self) -> bool:
        return self.largest <= self.allowed  # NaN doesn't


class Expected(NamedTuple):
    """What torch computes on one frame, for all Q queries."""

    frame: Tensor  # uint8 [3, h, w]
    selected: list[int]  # queries, by falling score
    probs: NDArray[np.float64]  # [Q, K]
    boxes: NDArray[np.float32]  # [Q, 4]
    embeddings: NDArray[np.float32]  # [Q, C]
    mask_logits: NDArray[np.float32]  # [Q, H/4, W/4]


@torch.inference_mode()
def expect(model: IDOL, recipe: StageConfig, *, sizes: Sequence[Size], resize: bool = False) -> list[Expected]:
    """Run random frames of these sizes through torch, resized for the test or as they are."""
    frames = [made_frame(size, seed=number) for number, size in enumerate(sizes)]
    return [_expect(model, recipe, frame, resize=resize) for frame in frames]


def compare(exported: ExportedModel, expected: Sequence[Expected]) -> list[Deviation]:
    """Run the same frames through an exported file; every row is compared with its query in torch."""
    limits = ALLOWED if exported.facts.precision == "float32" else ALLOWED_FLOAT16
    worst = dict.fromkeys(limits, (0.0, 0.0))  # largest difference, largest value
    for one in expected:
        for about, (ours, theirs) in _both(exported, one).items():
            difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0)
            largest = max(worst[about][1], float(np.abs(theirs).max(initial=0.0)))
            worst[about] = (float(np.maximum(worst[about][0], difference)), largest)  # np.maximum keeps NaN
    return [
        Deviation(about, worst[about][0], max(kind.absolute, kind.of_largest * worst[about][1]))
        for about, kind in limits.items()
    ]


def raise_if_apart(found: Sequence[Deviation], *, where: str, precision: Precision = "float32") -> None:
    """Raise IdolError, naming the first, if a deviation is larger than allowed."""
    apart = next((one for one in found if not one.fits), None)
    if apart is not None:
        what = f"the exported graph does not compute what torch does: {apart.about} are {apart.largest:.2g} apart, "
        what += f"{apart.allowed:.2g} is allowed; nothing was written"
        fix = "other versions of the libraries; or report it" if precision == "float32" else "--precision float32"
        raise IdolError(what, where=where, fix=fix)


def made_frame(size: Size, *, seed: int) -> Tensor:
    """A random frame with large and small shapes: uint8 [3, h, w]."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.zeros(1, 3, *size)
    for cells in (4, 12, 48):
        colors = torch.rand(1, 3, cells, cells, generator=generator)
        frame += F.interpolate(colors, size=size, mode="bilinear", align_corners=False)
    return (frame[0] * 85).to(torch.uint8)


Pair = tuple[NDArray[np.generic], NDArray[np.generic]]


def _expect(model: IDOL, recipe: StageConfig, frame: Tensor, *, resize: bool) -> Expected:
    image = resize_for_test(frame.permute(1, 2, 0).numpy(), recipe.input) if resize else frame
    decoded = model(collate_frames([image], config=recipe.input))
    logits, boxes = (part[0] for part in class_logits_and_boxes(decoded))
    tracker = recipe.tracker
    chosen = select_queries(logits, boxes, min_score=tracker.select_threshold, box_nms=tracker.box_nms)
    features, last = model.mask_features(decoded), len(decoded.logits) - 1
    masks = [
        model.mask_logits(decoded, features, torch.full_like(query, last), torch.zeros_like(query), query).numpy()
        for query in torch.arange(len(logits)).split(_AT_ONCE)
    ]
    embeddings = model.embed(decoded.queries[-1, 0])
    return Expected(
        frame=frame,
        selected=chosen.tolist(),
        probs=logits.double().sigmoid().numpy(),
        boxes=boxes.numpy(),
        embeddings=embeddings.numpy(),
        mask_logits=np.concatenate(masks),
    )


def _both(exported: ExportedModel, expected: Expected) -> dict[str, Pair]:
    """(the file's, torch's) numbers of one frame, by kind."""
    rows = exported.run(expected.frame)
    query = rows.queries
    height, width = expected.mask_logits.shape[-2:]  # a fixed graph may pad further
    selected = set(expected.selected[: exported.facts.rows])
    agreeing = len(selected) - len(selected ^ set(query[: int(rows.count)].tolist()))
    probs = expected.probs[query]
    a_logit = probs * (1 - probs) + _ROUNDING  # what a probability changes by if its logit changes by 1
    return {
        "class logits": (rows.probs / a_logit, probs / a_logit),
        "boxes": (rows.boxes, expected.boxes[query]),
        "embeddings": (rows.embeddings, expected.embeddings[query]),
        "mask logits": (rows.mask_logits[:, :height, :width], expected.mask_logits[query]),
        "selected queries that differ": (np.array(agreeing), np.array(len(selected))),
    }
