"""Tell whether a results file still fits a data set: a digest of what its ids stand for, kept beside the results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from idol_core.data.annotations.index import AnnotationIndex
from idol_core.system.files import read_object, write_json

FILE = "results-set.json"  # beside results.json


def set_digest(index: AnnotationIndex) -> str:
    """SHA-256 of a data set's classes and videos (or images): ids, names, sizes and frame names; not its objects."""
    digest = hashlib.sha256()
    classes = sorted(zip(index.category_ids.tolist(), index.category_names, strict=True))
    digest.update(json.dumps(classes).encode())
    ids, sizes, first = index.video_ids.tolist(), index.video_sizes.tolist(), index.first_frame.tolist()
    for row in sorted(range(len(ids)), key=ids.__getitem__):
        names = [index.name(frame) for frame in range(first[row], first[row + 1])]
        digest.update(json.dumps([ids[row], sizes[row], names]).encode())
    return digest.hexdigest()


def record_set(folder: Path, index: AnnotationIndex) -> None:
    """Write into the folder of a results file which data set it is of."""
    write_json(folder / FILE, {"set": set_digest(index)})


def results_fit(folder: Path, index: AnnotationIndex) -> bool:
    """Whether ids in a folder's results mean the same in a data set; True for older results without a record."""
    recorded = read_object(folder / FILE).get("set")
    return recorded is None or recorded == set_digest(index)
