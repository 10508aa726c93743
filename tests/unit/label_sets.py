"""A small labelled set in the plain form, to be written in every label format and read back."""

from __future__ import annotations

import numpy as np
from PIL import Image

from idol_core.data.annotations import rle
from idol_core.data.exchange.labels import ImageFiles, LabelledClip, LabelledTrack, LabelSet, as_array, image_names

SIZE = (48, 64)


def made_labels(*, clips=2, frames=4):
    """Clips of a car that is hidden in a frame, a person with a hole, a car of two parts; the last frame is empty."""
    made = []
    for number in range(clips):
        car = {t: _blob(20 + number, 10 + 3 * t, 9) for t in range(frames - 1) if t != 1}
        person = {t: _blob(30, 50 - 4 * t, 9) & ~_blob(30, 50 - 4 * t, 3) for t in range(frames - 1)}
        apart = {t: _blob(8, 45, 5) | _blob(10, 58, 4) for t in range(1, 3)}
        tracks = ((3, "car", car), (7, "person", person), (8, "car", apart))
        encoded = [LabelledTrack(i, name, {t: rle.encode(m) for t, m in masks.items()}) for i, name, masks in tracks]
        names = ImageFiles(tuple(f"clip{number}/{t:05d}.jpg" for t in range(frames)))
        made.append(LabelledClip(f"clip{number}", *SIZE, names, tuple(encoded)))
    return LabelSet(tuple(made), ("car", "person"))


def write_images(labels, folder):
    """A grey image for every frame."""
    for clip in labels.clips:
        for name in image_names(clip):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (clip.width, clip.height), (90, 90, 90)).save(folder / name)


def compared(one, other):
    """The least IoU of two sets' masks; identities, classes, frames and sizes must be equal.

    Without identities, objects are compared in their order.
    """
    assert set(one.categories) == set(other.categories)
    assert one.tracked == other.tracked
    assert [(c.name, c.height, c.width, c.length) for c in one.clips] == [
        (c.name, c.height, c.width, c.length) for c in other.clips
    ]
    least = 1.0
    for first, second in zip(one.clips, other.clips, strict=True):
        mine, theirs = _by_identity(first, one.tracked), _by_identity(second, one.tracked)
        assert {i: t.category for i, t in mine.items()} == {i: t.category for i, t in theirs.items()}
        for identity, track in mine.items():
            assert sorted(track.masks) == sorted(theirs[identity].masks)
            for t, mask in track.masks.items():
                a = as_array(mask, first.height, first.width)
                b = as_array(theirs[identity].masks[t], first.height, first.width)
                least = min(least, (a & b).sum() / (a | b).sum())
    return least


def _by_identity(clip, tracked):
    return {track.id if tracked else place: track for place, track in enumerate(clip.tracks)}


def _blob(row, column, radius):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2
