"""Small annotation files and results of videos whose scores are known by hand."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 24, 32


def box(x, y, w, h, size=(HEIGHT, WIDTH)):
    """A rectangle as JSON has it."""
    mask = np.zeros(size, np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return {"size": list(size), "counts": coco_mask.encode(mask)["counts"].decode()}


def truth(annotations, *, videos=((1, 3),), categories=(4, 9)):
    """An annotation file; `annotations` are (video, category, segmentations) and further fields."""
    return {
        "videos": [{"id": i, "height": HEIGHT, "width": WIDTH, "length": n} for i, n in videos],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": [
            {"id": number, "video_id": video, "category_id": category, "iscrowd": 0, "segmentations": masks, **more}
            for number, (video, category, masks, more) in enumerate(annotations, start=1)
        ],
    }


def result(video, category, score, segmentations):
    return {"video_id": video, "category_id": category, "score": score, "segmentations": segmentations}
