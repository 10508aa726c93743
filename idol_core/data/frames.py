"""Frames from image files.

JPEG goes through simplejpeg: libjpeg-turbo as in PIL, bit for bit, in 0.6 of the time (benchmarks/data.py). All else,
and what simplejpeg finds fault with, goes through PIL, for which a file cut short is an error, not a grey area.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from idol_core.errors import Integrity, Missing


def read_frame(path: str | Path) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of an image file, turned upright where EXIF says so.

    Raises:
        Missing: no such file.
        Integrity: not an image, or cut short.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            if image.format == "JPEG" and image.mode in ("RGB", "L") and not turned:
                with contextlib.suppress(ValueError):
                    decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(Path(path).read_bytes(), "RGB")
                    return decoded
            upright = ImageOps.exif_transpose(image) if turned else image
            return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except FileNotFoundError:
        raise Missing("frame not found", where=str(path), fix="complete the frames folder") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise Integrity(f"frame cannot be decoded: {error}", where=str(path), fix="copy or download it again") from None


class FrameReader:
    """Reads frames, keeping those of a small set in memory (per process)."""

    def __init__(self, *, keep: bool) -> None:
        self._kept: dict[str, NDArray[np.uint8]] | None = {} if keep else None

    def __call__(self, path: str, height: int, width: int) -> NDArray[np.uint8]:
        """[height, width, 3] RGB; a frame of another size is an Integrity error, as its masks would not fit."""
        if self._kept is not None and path in self._kept:
            return self._kept[path]
        frame = read_frame(path)
        if frame.shape[:2] != (height, width):
            raise Integrity(
                f"frame is {frame.shape[0]} x {frame.shape[1]}, its annotation says {height} x {width}",
                where=path,
                fix="use the frames that the annotations were made for",
            )
        if self._kept is not None:
            self._kept[path] = frame
        return frame
