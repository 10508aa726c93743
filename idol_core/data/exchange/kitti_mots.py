"""KITTI-MOTS: as MOTS, with frames numbered from 0 and images in `training/image_02`."""

from __future__ import annotations

from pathlib import Path

from idol_core.data.exchange import mots, mots_writer
from idol_core.data.exchange.labels import LabelSet

IMAGES = "training/image_02"
read = mots.read
write = mots_writer.write


def recognises(path: Path) -> bool:
    """Whether `path` holds MOTS labels whose first frame is 0."""
    return mots.first_frame(path) == 0


def fit(labels: LabelSet) -> LabelSet:
    """As of MOTS, with frames numbered from 0."""
    return mots_writer.fit_from(labels, first=0)
