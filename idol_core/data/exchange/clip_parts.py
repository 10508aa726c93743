"""Collect the masks of a clip's objects, frame by frame, into tracks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from idol_core.data.exchange.labels import LabelledTrack, Mask, united


@dataclass
class _Object:
    category: str
    crowd: bool = False
    parts: dict[int, list[Mask]] = field(default_factory=dict)


class ClipParts:
    """Collects masks of a clip of frames of `height` x `width`; parts of one object in one frame are united."""

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self._objects: dict[object, _Object] = {}

    def add(self, identity: object, category: str, t: int, mask: Mask, *, crowd: bool = False) -> None:
        """Add a mask of frame t. Objects of one identity are one track; identity None is a track of this mask alone.
        A track with any crowd among its masks is a crowd.

        Raises ValueError if the identity was seen with another class.
        """
        key = object() if identity is None else identity
        found = self._objects.setdefault(key, _Object(category))
        if found.category != category:
            raise ValueError(f"track {identity} is of class '{found.category}' before, of '{category}' here")
        found.crowd = found.crowd or crowd
        found.parts.setdefault(t, []).append(mask)

    def tracks(self) -> tuple[LabelledTrack, ...]:
        """The tracks; an identity that is a number, not negative, is the track's id, others get the free numbers."""
        taken = {key for key in self._objects if type(key) is int and key >= 0}
        free = (number for number in itertools.count(1) if number not in taken)
        return tuple(
            LabelledTrack(
                key if type(key) is int and key >= 0 else next(free),
                found.category,
                {t: united(parts, *self._size) for t, parts in sorted(found.parts.items())},
                found.crowd,
            )
            for key, found in self._objects.items()
        )
