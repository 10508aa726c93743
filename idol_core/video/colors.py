"""Between decoded video frames and RGB: which matrix a file's colors have, and how a frame is turned upright."""

from __future__ import annotations

from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from idol_core.data.orientation import UPRIGHT, Orientation, nearest_orientation, oriented

Frame = NDArray[np.uint8]

_BT709, _UNSPECIFIED, _SMPTE170M = 1, 2, 6  # AVColorSpace; BT.601 is SMPTE 170M


def upright(frame: av.VideoFrame) -> Frame:
    """[H, W, 3] RGB of a decoded frame, turned and mirrored as its display matrix says.

    Frames of high definition that don't name their matrix are read by BT.709, smaller ones by BT.601, as players do.
    """
    named = frame.colorspace != _UNSPECIFIED or frame.format.is_rgb
    matrix = None if named else _usual_matrix(frame.height, frame.width)
    pixels = cast(Frame, frame.to_ndarray(format="rgb24", src_colorspace=matrix))
    return oriented(pixels, _orientation(frame))


def encodable(picture: Frame) -> av.VideoFrame:
    """[H, W, 3] RGB, both even, as a yuv420p frame in the matrix of `tag_colors`."""
    matrix = _usual_matrix(*picture.shape[:2])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG)


def tag_colors(encoder: av.VideoCodecContext, height: int, width: int) -> None:
    """Have a file of frames of this size say which colors they have: BT.709 in high definition, else BT.601."""
    large = _usual_matrix(height, width) == Colorspace.ITU709
    encoder.colorspace = _BT709 if large else _SMPTE170M
    encoder.color_primaries = ColorPrimaries.BT709 if large else ColorPrimaries.SMPTE170M
    encoder.color_trc = ColorTrc.BT709 if large else ColorTrc.SMPTE170M
    encoder.color_range = ColorRange.MPEG


def _usual_matrix(height: int, width: int) -> Colorspace:
    return Colorspace.ITU709 if height >= 720 or width >= 1280 else Colorspace.ITU601


def _orientation(frame: av.VideoFrame) -> Orientation:
    """From the display matrix: 3 x 3 whole numbers, of which a, b and c, d begin the first two rows."""
    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    except ValueError:  # other side data of a kind that PyAV does not know
        turned = frame.rotation // 90 % 4  # to the left
        return (UPRIGHT, Orientation(0, -1, 1, 0), Orientation(-1, 0, 0, -1), Orientation(0, 1, -1, 0))[turned]
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(cast(bytes, matrix), np.int32, count=5).astype(float)
    return nearest_orientation(a, b, c, d)
