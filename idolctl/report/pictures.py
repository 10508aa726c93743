"""Draw frames of clips as JPEG: ground truth beside prediction, errors framed in red and named."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from idol_core.data.annotations import rle
from idol_core.data.frames import read_frame
from idol_core.drawing.frame import Drawn, Frame, draw_objects
from idolctl.report.clips import ClipView, Shown

PANE = 320  # width of a frame in the page, in pixels
MOST_FRAMES = 20  # per clip, spread evenly, plus the frame with most errors, which is shown first
QUALITY = 72
_RED = (225, 29, 40)


def chosen_frames(view: ClipView, length: int) -> list[int]:
    """Frames of a clip for the page: all, or MOST_FRAMES evenly spread ones plus the one with most errors."""
    if length <= MOST_FRAMES:
        return list(range(length))
    spread = {round(t) for t in np.linspace(0, length - 1, MOST_FRAMES)}
    return sorted(spread | {first_error(view, length)})


def first_error(view: ClipView, length: int) -> int:
    """The frame with most errors (the first of equals); without errors, the middle frame."""
    counts = [sum(t in one.errors for one in (*view.truth, *view.found)) for t in range(length)]
    return int(np.argmax(counts)) if any(counts) else length // 2


def draw_frame(path: str, view: ClipView, t: int) -> bytes:
    """Draw one frame as JPEG: ground truth on the left (if there is any), prediction on the right."""
    frame = read_frame(path)
    panes = [view.truth, view.found] if view.truth else [view.found]
    return encode(np.concatenate([_pane(frame, side, t) for side in panes], axis=1))


def encode(picture: Frame) -> bytes:
    """Encode a picture as JPEG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def _pane(frame: Frame, side: Sequence[Shown], t: int) -> Frame:
    height, width = frame.shape[:2]
    masks = rle.decode([one.masks[t] for one in side], height, width).astype(bool)
    rows = _places(height, max(1, round(height * PANE / width)))
    columns = _places(width, PANE)
    small = np.asarray(Image.fromarray(frame).resize((len(columns), len(rows)), Image.Resampling.BICUBIC))
    drawn = []
    for one, mask in zip(side, masks, strict=True):
        kind = one.errors.get(t)
        drawn.append(Drawn(one.color, f"{one.label}  {kind}" if kind else one.label, mask[rows][:, columns]))
    picture = Image.fromarray(draw_objects(small, drawn[::-1]))
    pen = ImageDraw.Draw(picture)
    for one, item in zip(side, drawn, strict=True):
        if t in one.errors and item.mask.any():
            ys, xs = np.flatnonzero(item.mask.any(1)), np.flatnonzero(item.mask.any(0))
            pen.rectangle((xs[0] - 2, ys[0] - 2, xs[-1] + 2, ys[-1] + 2), outline=_RED, width=2)
    return np.pad(np.asarray(picture), ((0, 0), (0, 2), (0, 0)))


def _places(length: int, wanted: int) -> np.ndarray:
    """Indices that sample `wanted` pixels from `length` (nearest neighbour)."""
    return np.minimum((np.arange(wanted) + 0.5) * length / wanted, length - 1).astype(np.int64)
