"""Convert between video frames and RGB: color matrices, and rotation by the display matrix."""

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
    """Convert a decoded frame to [H, W, 3] RGB, rotated and mirrored by its display matrix.

    Frames that don't name their color matrix are taken as BT.709 in high definition, else BT.601, as players do.
    """
    named = frame.colorspace != _UNSPECIFIED or frame.format.is_rgb
    matrix = None if named else _usual_matrix(frame.height, frame.width)
    pixels = cast(Frame, frame.to_ndarray(format="rgb24", src_colorspace=matrix))
    return oriented(pixels, _orientation(frame))


def encodable(picture: Frame) -> av.VideoFrame:
    """Convert [H, W, 3] RGB (H and W even) to a yuv420p frame with the color matrix of `tag_colors`."""
    matrix = _usual_matrix(*picture.shape[:2])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG)


def tag_colors(encoder: av.VideoCodecContext, height: int, width: int) -> None:
    """Tag a file with the color matrix for frames of this size: BT.709 in high definition, else BT.601."""
    large = _usual_matrix(height, width) == Colorspace.ITU709
    encoder.colorspace = _BT709 if large else _SMPTE170M
    encoder.color_primaries = ColorPrimaries.BT709 if large else ColorPrimaries.SMPTE170M
    encoder.color_trc = ColorTrc.BT709 if large else ColorTrc.SMPTE170M
    encoder.color_range = ColorRange.MPEG


def _usual_matrix(height: int, width: int) -> Colorspace:
    return Colorspace.ITU709 if height >= 720 or width >= 1280 else Colorspace.ITU601


def _orientation(frame: av.VideoFrame) -> Orientation:
    """Read the display matrix: 3 x 3 integers, whose first two rows begin with a, b and c, d."""
    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    except ValueError:  # other side data of a kind that PyAV does not know
        turned = frame.rotation // 90 % 4  # quarter turns counterclockwise
        return (UPRIGHT, Orientation(0, -1, 1, 0), Orientation(-1, 0, 0, -1), Orientation(0, 1, -1, 0))[turned]
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(cast(bytes, matrix), np.int32, count=5).astype(float)
    return nearest_orientation(a, b, c, d)
