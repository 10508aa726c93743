"""Label Studio's brush masks: run lengths of RGBA pixels in a stream of bits (its own packing, not COCO's RLE).

The stream: the number of values (32 bits), bits per value less one (5), four widths less one (4 each). Then blocks: one
bit (1: a run, 0: single values), the index of a width (2), the number of values less one in that width, and the value
of the run or each single value. Bits come most significant first. Source: label-studio-sdk, converter/brush.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WIDTHS = (3, 4, 8, 16)
_CHANNELS = 4


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._data, self._place, self.left = data, 0, 8 * len(data)

    def read(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError("a brush mask that is cut short")
        stop = self._place + count
        piece = int.from_bytes(self._data[self._place // 8 : (stop + 7) // 8], "big")
        self._place = stop
        return (piece >> (-stop % 8)) & ((1 << count) - 1)


def decode_brush(values: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """The mask [height, width] of a list of bytes: where alpha is above 0.

    Raises ValueError if the stream is malformed, or does not fill an RGBA picture of that size.
    """
    if not all(type(value) is int and 0 <= value < 256 for value in values):
        raise ValueError("the rle of a brush mask is no list of bytes")
    bits = _Bits(bytes(values))
    count, word = bits.read(32), bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    if count != height * width * _CHANNELS:
        raise ValueError(f"a brush mask of {count} values for {height} x {width} pixels of {_CHANNELS}")
    pixels = np.zeros(count, np.bool_)
    place = 0
    while place < count:
        run = bits.read(1)
        length = 1 + bits.read(widths[bits.read(2)])
        if place + length > count:
            raise ValueError("a brush mask of more values than its pixels")
        if run:
            pixels[place : place + length] = bits.read(word) > 0
        else:
            for k in range(place, place + length):
                pixels[k] = bits.read(word) > 0
        place += length
    return pixels.reshape(height, width, _CHANNELS)[:, :, 3]


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask [h, w] as a list of bytes that `decode_brush` and Label Studio read; all channels are 255 or 0."""
    flat = np.repeat(mask.ravel(), _CHANNELS)
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.concatenate((starts, [flat.size])))
    bits = [f"{flat.size:032b}{8 - 1:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = "11111111" if flat[start] else "00000000"
        while length:
            part = min(length, 1 << _WIDTHS[-1])
            index = next(i for i, width in enumerate(_WIDTHS) if part <= 1 << width)
            bits.append(f"1{index:02b}{part - 1:0{_WIDTHS[index]}b}{value}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))
