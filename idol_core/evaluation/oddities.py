"""What makes a score lower than the network deserves: missing and repeated results, repeated objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set

Key = tuple[int, int, bytes | None]  # video (or image), category, digest of the masks; None: they have no pixel
_SHARE = 0.25  # of all results, from which repeated ones are told: networks repeat their weakest ones, too


def mask_key(masks: Iterable[bytes | None]) -> bytes | None:
    """Digest of the compressed masks of a track, by frame (of an image: of one mask); None if there are none."""
    digest, shown = hashlib.blake2b(digest_size=12), False
    for mask in masks:
        digest.update(b"-" if mask is None else mask + b",")
        shown = shown or mask is not None
    return digest.digest() if shown else None


def score_notes(labelled: Set[int], *, results: Sequence[Key], objects: Sequence[Key], unit: str) -> tuple[str, ...]:
    """Sentences on what lowers a score, for the user.

    Args:
        labelled: ids of the videos (or images) that have objects.
        unit: "video" or "image".
    """
    if not results:
        return ("no results, so every score is 0",)
    notes = []
    if lacking := sorted(labelled - {key[0] for key in results}):
        notes.append(
            f"no results for {len(lacking)} of {len(labelled)} {unit}s with objects (first: {unit} {lacking[0]}); "
            "their objects count as missed"
        )
    if (again := _repeats(results)) >= _SHARE * len(results):
        notes.append(f"{again} results repeat another's {unit}, class and mask, and count as wrong")
    if again := _repeats(objects):
        what = f"{again} objects of the annotations repeat another's {unit}, class and mask"
        notes.append(f"{what}; a result can only match one of them")
    return tuple(notes)


def _repeats(keys: Sequence[Key]) -> int:
    """How many keys repeat an earlier one; those without a pixel don't count."""
    shown = [key for key in keys if key[2] is not None]
    return len(shown) - len(set(shown))
