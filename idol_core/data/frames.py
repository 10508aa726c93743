"""Read frames from image files.

JPEG goes through simplejpeg: libjpeg-turbo as in PIL, bit for bit, in 0.6 of the time (benchmarks/data.py). Other
formats, and files that simplejpeg rejects, go through PIL, which treats a truncated file as an error and does not fill
it with grey.
"""

from __future__ import annotations

import contextlib
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from idol_core.data.names import similar_file
from idol_core.data.orientation import EXIF, UPRIGHT, Orientation, oriented
from idol_core.errors import IdolError, Integrity, Missing

MAX_PIXELS = 100_000_000  # limit for one picture; larger ones are refused before decoding

OnDamage = Callable[[str], None]  # receives a description of the damage

_DARK = 4096  # a 16-bit picture below this, such as one of 12 bits, becomes nearly black

_PHOTOMETRIC, _NEW_SUBFILE_TYPE = 262, 254  # TIFF tags
_WHITE_IS_ZERO, _REDUCED = 0, 1  # values of the tags above

_JPEG_DAMAGE = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")  # libjpeg messages

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here


class DamagedFrame(UserWarning):
    """Warning: a damaged picture is used as far as it could be decoded."""


def read_frame(path: str | Path, *, on_damage: OnDamage | None = None) -> NDArray[np.uint8]:
    """Read an image file as uint8 [H, W, 3] RGB, rotated according to EXIF.

    An alpha channel is dropped; 16-bit grey is scaled so that 65535 becomes 255.

    Args:
        on_damage: called for a picture that is damaged but decodes, or of 16 bits but nearly black; None: emit a
            DamagedFrame warning.

    Raises:
        Missing: no such file; the error suggests a file whose name differs only in case, Unicode form or slashes.
        Integrity: not an image, truncated, over MAX_PIXELS, several pictures in one file, or 32-bit pixels.
    """
    with _opened(path) as image:
        if (count := len(_pages(image))) > 1:
            raise Integrity(
                f"the file holds {count} pictures, not one",
                where=str(path),
                fix="save each as a file of its own; idolctl predict FILE takes one such file as frames",
            )
        return _decoded(path, image, on_damage)


def read_pages(path: str | Path, *, on_damage: OnDamage | None = None) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Yield each picture of a file (pages of a TIFF, frames of an animated PNG or WebP) and its duration in seconds.

    The duration is 0 if the file gives none. Also accepts files of one picture. Raises as `read_frame`.
    """
    with _opened(path) as image:
        pages = _pages(image)
        if len(pages) == 1:
            yield _decoded(path, image, on_damage), 0.0
            return
        for page in pages:
            image.seek(page)
            yield _decoded(path, image, on_damage), float(image.info.get("duration") or 0.0) / 1000


def count_pages(path: str | Path) -> int:
    """Count the pictures in a file. Raises as `read_frame`."""
    with _opened(path) as image:
        return len(_pages(image))


def frame_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels that `read_frame` would give, from the file's beginning. Raises as `read_frame`."""
    with _opened(path) as image:
        turned = _orientation(image).a == 0
        return (image.width, image.height) if turned else (image.height, image.width)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open an image without decoding it; PIL's errors inside the context become IdolErrors."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise Integrity("not a regular file", where=str(path), fix="name an image file")
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise missing_frame(Path(path)) from None
    except NotADirectoryError:
        raise missing_frame(Path(path)) from None
    except Image.DecompressionBombError:
        raise _too_large("", path) from None
    except (IdolError, MemoryError):
        raise
    except Exception as error:  # PIL can raise nearly anything on maliciously crafted files
        what = f"frame cannot be decoded: {error or type(error).__name__}"
        fix = "copy or download it again; if it opens elsewhere, save it as PNG or JPEG"
        raise Integrity(what, where=str(path), fix=fix) from None


def missing_frame(path: Path) -> Missing:
    """Make the error for a missing frame; it suggests the file that was probably meant."""
    found = similar_file(path)
    if found is None:
        return Missing("frame not found", where=str(path), fix="put the file into the frames folder")
    return Missing(
        f"frame not found; there is {found}",
        where=str(path),
        fix="rename that file, or write the name that it has into the annotations",
    )


def _pages(image: Image.Image) -> list[int]:
    """Page numbers of the pictures in a file; seeks to the first one.

    Skips reduced copies in a TIFF, previews after a JPEG (MPO) and the default image of an animated PNG.
    """
    count = getattr(image, "n_frames", 1)
    if count == 1 or image.format == "MPO":
        return [0]
    pages = list(range(count))
    if image.format == "TIFF":
        pages = [page for page in pages if not _tiff_tag(image, page, _NEW_SUBFILE_TYPE) & _REDUCED] or [0]
    elif getattr(image, "default_image", False):
        pages = pages[1:]
    image.seek(pages[0])
    return pages


def _tiff_tag(image: Image.Image, page: int, tag: int) -> int:
    image.seek(page)
    return int(image.tag_v2.get(tag, 0))  # type: ignore[attr-defined]


def _decoded(path: str | Path, image: Image.Image, on_damage: OnDamage | None) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(f"of {image.width} x {image.height} ", path)

    if image.format in ("JPEG", "MPO"):
        shown = _orientation(image)
        content = Path(path).read_bytes()
        try:
            color = "CMYK" if image.mode == "CMYK" else "RGB"
            decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, color)
            if image.mode in ("RGB", "L"):
                return oriented(decoded, shown)
        except ValueError as error:
            picture = _rgb(image, path)  # raises for a truncated file
            if str(error).startswith(_JPEG_DAMAGE):
                _tell(f"damaged: {error}", path, on_damage)
            return oriented(picture, shown)
        return oriented(_rgb(image, path), shown)
    image.load()  # rotates a TIFF, which changes its orientation tag
    return oriented(_rgb(image, path, on_damage), _orientation(image))


def encode_jpeg(frame: NDArray[np.uint8]) -> bytes:
    """Compress a frame [H, W, 3] RGB: quality 95, colors in full resolution."""
    found: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=95, colorsubsampling="444")
    return found


def jpeg_damage(content: bytes) -> str | None:
    """libjpeg's damage message for a JPEG that still decodes; None for an intact one."""
    try:
        simplejpeg.decode_jpeg(content, "GRAY")
    except ValueError as error:
        return str(error) if str(error).startswith(_JPEG_DAMAGE) else None
    return None


def _tell(what: str, path: str | Path, on_damage: OnDamage | None) -> None:
    if on_damage is None:
        warnings.warn(f"{path}: {what}", DamagedFrame, stacklevel=5)
    else:
        on_damage(what)


def _orientation(image: Image.Image) -> Orientation:
    return EXIF.get(image.getexif().get(ExifTags.Base.Orientation, 1), UPRIGHT)


def _rgb(image: Image.Image, path: str | Path, on_damage: OnDamage | None = None) -> NDArray[np.uint8]:
    """Convert a picture with a known value range to RGB [H, W, 3]."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        grey = np.asarray(image).astype(np.uint32)
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
            grey = 65535 - grey
        if 0 < (top := int(grey.max())) < _DARK:
            _tell(f"nearly black: its 16-bit values reach only {top} of 65535, so scale them up", path, on_damage)
        scaled = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(scaled[..., None], 3, axis=2)
    if mode in ("I", "F"):
        kind = "whole numbers" if mode == "I" else "fractions"
        raise Integrity(
            f"pixels are 32-bit {kind}, and the file does not say which values are black and white",
            where=str(path),
            fix="save it with 8 bits (or 16 bits of grey), scaled to the range that you choose",
        )
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def _too_large(size: str, path: str | Path) -> Integrity:
    what = f"a picture {size}is larger than {MAX_PIXELS:,} pixels"
    return Integrity(what, where=str(path), fix="make it smaller, or cut it into tiles")


class FrameReader:
    """Reads frames; with `keep` it caches them in memory, per process (for small data sets)."""

    def __init__(self, *, keep: bool) -> None:
        self._kept: dict[str, NDArray[np.uint8]] | None = {} if keep else None

    def __call__(self, path: str, height: int, width: int, *, on_damage: OnDamage | None = None) -> NDArray[np.uint8]:
        """Read a frame as [height, width, 3] RGB. Raises Integrity if its size differs, as its masks would not fit."""
        if self._kept is not None and path in self._kept:
            return self._kept[path]
        frame = read_frame(path, on_damage=on_damage)
        if frame.shape[:2] != (height, width):
            raise Integrity(
                f"frame is {frame.shape[0]} x {frame.shape[1]}, its annotation says {height} x {width}",
                where=path,
                fix="use the frames that the annotations were made for",
            )
        if self._kept is not None:
            self._kept[path] = frame
        return frame
