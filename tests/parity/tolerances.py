"""How close every kind of number must come to the recorded one: the kit's suggestions, none wider.

`pytest tests/parity` prints this table with the worst error that was measured beside each (see conftest.py).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch


class Worst(NamedTuple):
    """The comparison that used up most of a tolerance."""

    share: float  # of what is allowed
    error: float  # |ours - recorded|, and what was allowed there
    allowed: float


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """|ours - recorded| <= absolute + relative * |recorded| + of_largest * max |recorded|, elementwise."""

    about: str
    absolute: float = 0.0
    relative: float = 0.0
    of_largest: float = 0.0

    def check(
        self, ours: torch.Tensor, recorded: np.ndarray | float, name: str = "", *, largest: float | None = None
    ) -> None:
        """`largest` stands for max |recorded| where that is not known from what was recorded."""
        recorded = np.asarray(recorded, dtype=np.float64)
        assert ours.shape == recorded.shape
        floor = self.absolute + self.of_largest * (np.abs(recorded).max(initial=0.0) if largest is None else largest)
        values = ours.detach().double().numpy()
        self._note(np.abs(values - recorded), floor + self.relative * np.abs(recorded))
        np.testing.assert_allclose(values, recorded, rtol=self.relative, atol=floor, err_msg=name)

    def _note(self, errors: np.ndarray, allowed: np.ndarray) -> None:
        shares = np.divide(errors, allowed, out=np.where(errors > 0, np.inf, 0.0), where=allowed > 0)
        if not shares.size or np.isnan(shares).any():
            return
        place = np.unravel_index(shares.argmax(), shares.shape)
        found = Worst(float(shares[place]), float(errors[place]), float(np.broadcast_to(allowed, shares.shape)[place]))
        if found > MEASURED.get(self.about, (-1.0,)):
            MEASURED[self.about] = found

    def __str__(self) -> str:
        parts = {"": self.absolute, " relative": self.relative, " of the largest": self.of_largest}
        return " + ".join(f"{value:g}{kind}" for kind, value in parts.items() if value)


MEASURED: dict[str, Worst] = {}  # by tolerance, of the test that runs

OVERLAP = Tolerance("IoU, GIoU, conversions of boxes in 0..1", absolute=1e-6)
SAMPLING = {  # recorded in float64
    torch.float64: Tolerance("deformable sampling and its gradients, float64", absolute=1e-10),
    torch.float32: Tolerance("deformable sampling and its gradients, float32", absolute=1e-4),
}
POSITION = Tolerance("sine encoding", absolute=1e-5)
LOGIT = Tolerance("class logits", absolute=1e-4)
EMBEDDING = Tolerance("association embeddings", absolute=1e-4)
BOX = Tolerance("boxes and reference points, normalized", absolute=1e-5)
MASK_LOGIT = Tolerance("mask logits", absolute=1e-3)
FACT = Tolerance("values inside the network, their statistics", absolute=1e-4, relative=1e-4)
LOSS = Tolerance("losses", relative=1e-4)
GRADIENT = Tolerance("gradients of one operation", of_largest=1e-4)
GRADIENT_NORM = Tolerance("gradient norms through the network", relative=1e-2)
GRADIENT_ENTRY = Tolerance("gradient entries (largest: an average one)", relative=1e-2, of_largest=1e-2)
CLASS_SCORE = Tolerance("class scores of tracks, averaged over frames", absolute=1e-6)
STILL_SCORE = Tolerance("class probabilities of still images", absolute=1e-5)
PIXEL_BOX = Tolerance("boxes in pixels: 1e-5 of a side of 200", absolute=2e-3)
MASK_PIXELS = Tolerance("share of a mask's pixels, through the network", absolute=1e-3)
AVERAGE_PRECISION = Tolerance("video AP and AR, all official numbers", absolute=1e-9)

TABLE = [
    *SAMPLING.values(),
    *(value for value in list(globals().values()) if isinstance(value, Tolerance)),
]
