"""Open the ground truth of a score, given as an index, an annotation file or its parsed content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from idol_core.data.annotations.coco import read_coco
from idol_core.data.annotations.index import AnnotationIndex
from idol_core.data.annotations.json_stream import JsonDocument
from idol_core.data.annotations.ytvis import read_vis
from idol_core.data.dataset import open_labels

GroundTruthSource = AnnotationIndex | Mapping[str, Any] | Path


def open_ground_truth(
    source: GroundTruthSource, kind: Literal["vis", "coco"], *, where: str = ""
) -> tuple[AnnotationIndex, str]:
    """Return the index of the annotations and the name that errors give them; `where` names an index.

    Raises Missing if the file does not exist, Integrity if it is malformed.
    """
    if isinstance(source, AnnotationIndex):
        return source, where or "the annotations given"
    if isinstance(source, Path):
        index, path = open_labels(source, kind)
        return index, str(path)
    name = "the annotations given"
    read = read_vis if kind == "vis" else read_coco
    return read(JsonDocument(source, name)), name
