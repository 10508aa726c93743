"""Folders of mask images: which of them are clips, and which image files their frames are.

Mask images name their frame by the file's stem alone: Annotations/bear/00000.png is of JPEGImages/bear/00000.jpg.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from idol_core.data.exchange.labels import ImageFiles
from idol_core.data.exchange.mask_images import Header
from idol_core.data.image_files import images_in, in_order
from idol_core.errors import Integrity

_ENDING = ".jpg"  # of a frame whose file is not there


class Frames(NamedTuple):
    """The frames of a clip."""

    files: ImageFiles
    without: int  # images beside them that have no mask file


def mask_folders(root: Path) -> list[Path]:
    """Folders at and below `root` that hold PNGs directly, in order."""
    return in_order(Path(folder) for folder, names in _walk(root) if any(map(_is_mask, names)))


def first_mask(root: Path) -> Path | None:
    """A PNG at or below `root`; None if there is none."""
    for folder, names in _walk(root):
        if found := sorted(filter(_is_mask, names)):
            return Path(folder) / found[0]
    return None


def base_of(masks: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """The folder that holds the annotations' folder, called as one of `names`, and the way from that to `masks`.

    (`masks`, .) if no folder on the way to `masks` is called so.
    """
    depth = next((i for i in range(len(masks.parts) - 1, 0, -1) if masks.parts[i] in names), None)
    return (masks, Path()) if depth is None else (Path(*masks.parts[:depth]), Path(*masks.parts[depth + 1 :]))


def masks_in(folder: Path) -> list[Path]:
    """PNGs of a folder by the numbers in their names. Raises Integrity for two of one frame (0.png and 00.png)."""
    found = in_order(path for path in folder.iterdir() if _is_mask(path.name))
    seen: dict[int | str, Path] = {}
    for file in found:
        key = frame_number(file.stem)
        if key in seen:
            what = f"two masks of frame {key}: {seen[key].name} and {file.name}"
            raise Integrity(what, where=str(file), fix="remove one of them")
        seen[key] = file
    return found


def frame_number(stem: str) -> int | str:
    """The number of a frame if its stem is one, else the stem: 00007 and 7 are the same frame."""
    return int(stem) if stem.isascii() and stem.isdigit() and len(stem) < 19 else stem


def sizes_equal(size: tuple[int, int] | None, header: Header, file: Path) -> tuple[int, int]:
    """(height, width) of a mask. Raises Integrity if `size`, that of the masks before it in its clip, is another."""
    own = (header.height, header.width)
    if size not in (None, own):
        what = f"a mask of {own} pixels in a clip of {size} (height, width)"
        raise Integrity(what, where=str(file), fix="give all masks of a clip the size of its frames")
    return own


def ordered(stems: Mapping[int | str, str]) -> list[int | str]:
    """Frame numbers in the order of their stems."""
    return [frame_number(path.name) for path in in_order(map(Path, stems.values()))]


def find_images(base: Path, folders: Sequence[Path], clip: str, stems: Iterable[str]) -> Frames:
    """Names, relative to `base`, of the frames with these stems.

    Args:
        folders: where the clip's frames may be, below `base`; the first that holds images is used. If none does,
            names are CLIP/STEM.jpg.
    """
    folder = next((folder for folder in folders if folder.is_dir() and images_in(folder)), None)
    if folder is None:
        return Frames(ImageFiles(tuple(f"{clip}/{stem}{_ENDING}" for stem in stems)), 0)
    images = images_in(folder)
    exact = {path.stem: path for path in images}
    by_number = {frame_number(path.stem): path for path in images}
    below = folder.relative_to(base)
    found = [exact.get(stem) or by_number.get(frame_number(stem)) or folder / f"{stem}{_ENDING}" for stem in stems]
    return Frames(ImageFiles(tuple((below / path.name).as_posix() for path in found)), len(set(images) - set(found)))


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        yield folder, names


def _is_mask(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")
