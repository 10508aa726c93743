"""Read and write PNGs whose pixels are numbers of objects, not colors: palette, or grey of 1 to 16 bits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from idol_core.data.annotations import rle
from idol_core.data.annotations.rle import RLE
from idol_core.data.frames import MAX_PIXELS
from idol_core.errors import IdolError, Integrity

_SIGNATURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_GREY, _PALETTE = 0, 3  # color types of PNG
_KINDS = {2: "RGB", 4: "grey with alpha", 6: "RGB with alpha"}
_SCALES = {2: 85, 4: 17}  # that PIL multiplies grey of so many bits by
_MEND = "copy it again, or write it again with the tool that made it"


class Header(NamedTuple):
    """What the beginning of a PNG says of its pixels."""

    height: int  # pixels
    width: int
    bits: int  # per pixel and channel
    color: int  # PNG's color type

    @property
    def palette(self) -> bool:
        """Whether pixels are indices into a palette."""
        return self.color == _PALETTE

    @property
    def numbers(self) -> bool:
        """Whether pixels are numbers, grey or indices, and not colors."""
        return self.color in (_GREY, _PALETTE)

    @property
    def about(self) -> str:
        """The kind of pixels in words."""
        kind = _KINDS.get(self.color, "palette" if self.palette else "grey")
        return f"{kind}, {self.bits} bit{'s' if self.bits > 1 else ''} a channel"


def read_header(path: Path) -> Header | None:
    """Size and kind of pixels of a PNG; None for anything that does not begin as one."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(26)
    if len(start) < 26 or not start.startswith(_SIGNATURE):
        return None
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    return Header(height, width, start[24], start[25])


def read_numbers(path: Path, *, bits: Iterable[int], fix: str) -> tuple[NDArray[np.uint16], Header]:
    """Read the pixels as numbers [H, W], and the header.

    Args:
        bits: that a pixel may have; 16 only as grey.
        fix: for a PNG of colors or of other bits.

    Raises Integrity: no PNG, damaged, over MAX_PIXELS (refused before decoding), colors, or other bits.
    """
    header = read_header(path)
    if header is None:
        raise Integrity("not a PNG", where=str(path), fix=_MEND)
    if not header.numbers or header.bits not in bits:
        what = f"pixels are {header.about}: they must be the numbers of objects"
        raise Integrity(what, where=str(path), fix=fix)
    if header.width * header.height > MAX_PIXELS:
        what = f"a picture of {header.width} x {header.height} is larger than {MAX_PIXELS:,} pixels"
        raise Integrity(what, where=str(path), fix="make it smaller, and its frame too")
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            pixels = np.asarray(picture)
    except (IdolError, MemoryError):
        raise
    except Exception as error:  # PIL can raise nearly anything on maliciously crafted files
        what = f"the PNG cannot be decoded: {error or type(error).__name__}"
        raise Integrity(what, where=str(path), fix=_MEND) from None
    if pixels.shape != (header.height, header.width):
        raise Integrity("the PNG holds other pixels than its beginning says", where=str(path), fix=_MEND)
    numbers = pixels.astype(np.uint16)
    return numbers // _SCALES.get(header.bits, 1) if header.color == _GREY else numbers, header


def masks_of(numbers: NDArray[np.uint16]) -> dict[int, RLE]:
    """The mask of every number of an image, ascending, without 0, the background: one pass for all of them."""
    height, width = numbers.shape
    flat = np.ascontiguousarray(numbers.T).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, stops = np.append(0, edges), np.append(edges, flat.size)
    values = flat[starts]
    masks = {}
    for number in np.unique(values[values > 0]).tolist():
        own = values == number
        bounds = np.stack((starts[own], stops[own]), axis=1).ravel()
        runs = np.diff(bounds, prepend=0, append=flat.size)
        counts = runs.tolist() if runs[-1] else runs[:-1].tolist()
        masks[number] = coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
    return masks


def painted(masks: Iterable[tuple[int, RLE]], height: int, width: int) -> NDArray[np.uint16]:
    """An image [height, width] of the numbers of masks that do not overlap; 0 elsewhere."""
    numbers = np.zeros((height, width), np.uint16)
    for number, mask in masks:
        numbers[rle.decode([mask], height, width)[0].astype(np.bool_)] = number
    return numbers


def write_palette(numbers: NDArray[np.uint16], path: Path) -> None:
    """Write numbers of 0 to 255 as a PNG with the palette of PASCAL VOC and DAVIS."""
    picture = Image.fromarray(numbers.astype(np.uint8))
    picture.putpalette(_palette())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG")


def write_grey(numbers: NDArray[np.uint16], path: Path) -> None:
    """Write numbers of 0 to 65535 as a PNG of 16 bits of grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers).save(path, "PNG")


def _palette() -> bytes:
    """256 colors: bits 0, 3, 6 of an index are red's from the highest down, 1, 4, 7 green's, 2, 5 blue's."""
    index = np.arange(256)
    colors = [sum((index >> (3 * k + channel) & 1) << (7 - k) for k in range(3)) for channel in range(3)]
    return np.stack(colors, axis=1).astype(np.uint8).tobytes()
