"""How close every kind of number must come to the recorded one: the kit's suggestions, none wider."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Tolerance:
    """|ours - recorded| <= absolute + relative * |recorded| + of_largest * max |recorded|, elementwise."""

    absolute: float = 0.0
    relative: float = 0.0
    of_largest: float = 0.0

    def check(self, ours: torch.Tensor, recorded: np.ndarray, name: str = "") -> None:
        recorded = np.asarray(recorded, dtype=np.float64)
        assert ours.shape == recorded.shape
        floor = self.absolute + self.of_largest * np.abs(recorded).max(initial=0.0)
        values = ours.detach().double().numpy()
        np.testing.assert_allclose(values, recorded, rtol=self.relative, atol=floor, err_msg=name)


OVERLAP = Tolerance(absolute=1e-6)  # IoU, GIoU and conversions of boxes in 0..1
SAMPLING = {torch.float64: Tolerance(absolute=1e-10), torch.float32: Tolerance(absolute=1e-4)}  # recorded in float64
POSITION = Tolerance(absolute=1e-5)  # the sine encoding
LOGIT = Tolerance(absolute=1e-4)
EMBEDDING = Tolerance(absolute=1e-4)
BOX = Tolerance(absolute=1e-5)  # the network's boxes and reference points, normalised
MASK_LOGIT = Tolerance(absolute=1e-3)
FACT = Tolerance(absolute=1e-4, relative=1e-4)  # intermediate values of the network and their statistics
LOSS = Tolerance(relative=1e-4)
GRADIENT = Tolerance(of_largest=1e-4)  # element by element, of one operation
GRADIENT_NORM = Tolerance(relative=1e-2)  # through the whole network
CLASS_SCORE = Tolerance(absolute=1e-6)  # of a track, averaged over its frames
STILL_SCORE = Tolerance(absolute=1e-5)  # class probabilities of still images
PIXEL_BOX = Tolerance(absolute=2e-3)  # boxes in pixels: 1e-5 of an image of 200 pixels
