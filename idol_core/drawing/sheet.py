"""Contact sheets: a few frames of a clip side by side in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from idol_core.drawing.frame import Frame
from idol_core.system.files import write_aside

SHEET_TILES = 8  # frames of a clip in a row of the sheet
SHEET_TILE = 256  # width of each, in pixels


def sheet_row(frames: Iterable[Frame]) -> Frame:
    """Join frames of one size side by side as tiles, each with a black border."""
    return np.concatenate([np.pad(tile(frame), ((2, 2), (2, 2), (0, 0))) for frame in frames], axis=1)


def tile(frame: Frame) -> Frame:
    """Resize a frame to a width of SHEET_TILE pixels."""
    height = max(1, round(frame.shape[0] * SHEET_TILE / frame.shape[1]))
    return np.array(Image.fromarray(frame).resize((SHEET_TILE, height), Image.Resampling.LANCZOS))


class Sheet:
    """Collects tiles for a contact sheet from frames that pass through, spread evenly over a clip of `length`."""

    def __init__(self, length: int) -> None:
        self._wanted = {round(t) for t in np.linspace(0, length - 1, SHEET_TILES)}
        self._kept: list[Frame] = []

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames unchanged, keeping those for the sheet."""
        for t, frame in enumerate(frames):
            if t in self._wanted:
                self._kept.append(tile(frame))
            yield frame

    def write(self, path: Path) -> None:
        """Write the kept frames as a PNG of one row."""
        with write_aside(path) as aside:
            Image.fromarray(sheet_row(self._kept)).save(aside, format="PNG")
