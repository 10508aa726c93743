"""Frames from image files.

JPEG goes through simplejpeg: libjpeg-turbo as in PIL, bit for bit, in 0.6 of the time (benchmarks/data.py). All else,
and what simplejpeg finds fault with, goes through PIL, for which a file cut short is an error, not a grey area.
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

MAX_PIXELS = 100_000_000  # of one picture; larger ones are refused before they are decoded

OnDamage = Callable[[str], None]  # takes what is wrong with a picture that is used all the same

_PHOTOMETRIC, _NEW_SUBFILE_TYPE = 262, 254  # TIFF tags
_WHITE_IS_ZERO, _REDUCED = 0, 1  # values of these

_JPEG_DAMAGE = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")  # libjpeg's own words

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here


class DamagedFrame(UserWarning):
    """A damaged picture is used as far as it could be decoded."""


def read_frame(path: str | Path, *, on_damage: OnDamage | None = None) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of an image file, turned upright where EXIF says so.

    An alpha channel is dropped; of 16-bit grey, 65535 becomes 255.

    Args:
        on_damage: called for a picture that is damaged inside, but decodes; None: a DamagedFrame warning.

    Raises:
        Missing: no such file; one whose name differs in case, Unicode form or slashes is named.
        Integrity: not an image, cut short, over MAX_PIXELS, several pictures in one file, or pixels of 32 bits.
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
    """The pictures of one file (pages of a TIFF, an animated PNG or WebP) and the seconds that each is shown.

    0 where the file does not say. A file of one picture gives that. Raises as `read_frame`.
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
    """How many pictures a file holds. Raises as `read_frame`."""
    with _opened(path) as image:
        return len(_pages(image))


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The image, not yet decoded; errors of PIL while it is open become ours."""
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
    except Exception as error:  # files that were made to break a decoder make PIL raise nearly anything
        what = f"frame cannot be decoded: {error or type(error).__name__}"
        fix = "copy or download it again; if it opens elsewhere, save it as PNG or JPEG"
        raise Integrity(what, where=str(path), fix=fix) from None


def missing_frame(path: Path) -> Missing:
    """The error for a frame that is not there; it names the file that was probably meant."""
    found = similar_file(path)
    if found is None:
        return Missing("frame not found", where=str(path), fix="complete the frames folder")
    return Missing(
        f"frame not found; there is {found}",
        where=str(path),
        fix="rename that file, or write the name that it has into the annotations",
    )


def _pages(image: Image.Image) -> list[int]:
    """Numbers of the pictures in a file, of which the first is made the current one.

    Without reduced copies of a TIFF, previews behind a JPEG (MPO) and what stands in for an animated PNG.
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
            picture = _rgb(image, path)  # raises for a file cut short
            if str(error).startswith(_JPEG_DAMAGE):
                _tell(f"damaged: {error}", path, on_damage)
            return oriented(picture, shown)
        return oriented(_rgb(image, path), shown)
    image.load()  # turns a TIFF, whose orientation then is another
    return oriented(_rgb(image, path), _orientation(image))


def jpeg_damage(content: bytes) -> str | None:
    """What libjpeg finds damaged inside a JPEG that decodes all the same; None for a whole one."""
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


def _rgb(image: Image.Image, path: str | Path) -> NDArray[np.uint8]:
    """[H, W, 3] of any picture whose range of values is known."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        grey = np.asarray(image).astype(np.uint32)
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
            grey = 65535 - grey
        scaled = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(scaled[..., None], 3, axis=2)
    if mode in ("I", "F"):
        kind = "whole numbers" if mode == "I" else "fractions"
        raise Integrity(
            f"pixels are {kind} of 32 bits, and the file does not say which are black and white",
            where=str(path),
            fix="save it with 8 bits (or 16 bits of grey), scaled to the range that you choose",
        )
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def _too_large(size: str, path: str | Path) -> Integrity:
    what = f"a picture {size}is larger than {MAX_PIXELS:,} pixels"
    return Integrity(what, where=str(path), fix="make it smaller, or cut it into tiles")


class FrameReader:
    """Reads frames, keeping those of a small set in memory (per process)."""

    def __init__(self, *, keep: bool) -> None:
        self._kept: dict[str, NDArray[np.uint8]] | None = {} if keep else None

    def __call__(self, path: str, height: int, width: int, *, on_damage: OnDamage | None = None) -> NDArray[np.uint8]:
        """[height, width, 3] RGB; a frame of another size is an Integrity error, as its masks would not fit."""
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
