"""Rotate and mirror pictures according to metadata: EXIF orientation of photos, display matrix of videos."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Orientation(NamedTuple):
    """One of the eight orientations: a stored pixel (x, y) is shown at x' = a x + c y, y' = b x + d y, shifted to start

    at (0, 0). Two of the numbers are 0, the other two are 1 or -1.
    """

    a: int
    b: int
    c: int
    d: int


UPRIGHT = Orientation(1, 0, 0, 1)

EXIF = {
    1: UPRIGHT,
    2: Orientation(-1, 0, 0, 1),  # mirrored left to right
    3: Orientation(-1, 0, 0, -1),  # turned by 180 degrees
    4: Orientation(1, 0, 0, -1),  # mirrored top to bottom
    5: Orientation(0, 1, 1, 0),  # transposed
    6: Orientation(0, 1, -1, 0),  # turned right by 90 degrees
    7: Orientation(0, -1, -1, 0),  # transposed along the other diagonal
    8: Orientation(0, -1, 1, 0),  # turned left by 90 degrees
}


def nearest_orientation(a: float, b: float, c: float, d: float) -> Orientation:
    """The orientation closest to a matrix; its scale is ignored."""

    def sign(value: float) -> int:
        return -1 if value < 0 else 1

    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(sign(a), 0, 0, sign(d))
    return Orientation(0, sign(b), sign(c), 0)


def oriented(picture: NDArray[np.uint8], shown: Orientation) -> NDArray[np.uint8]:
    """Apply an orientation to a stored picture [H, W, 3]; returns [H, W, 3] or [W, H, 3]."""
    if shown == UPRIGHT:
        return picture
    if shown.a == 0:
        picture = picture.transpose(1, 0, 2)
    rows = -1 if shown.b + shown.d < 0 else 1
    columns = -1 if shown.a + shown.c < 0 else 1
    return np.ascontiguousarray(picture[::rows, ::columns])
