"""Random COCO annotation files and results, with everything that the protocol treats specially."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 61, 83


def random_images(seed, *, images=10, categories=(1, 3, 7), ignored=True):
    """Annotations as polygons, run lengths and compressed RLEs, crowds and ignored ones among them, and results.

    Areas are those of the masks or drawn from all three size ranges; scores tie; many results are of no object.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(10, 10 + images):
        boxes = [rectangle(rng) for _ in range(rng.integers(0, 6))]
        for box in boxes:
            segmentation, area, bbox = shape(rng, box, every_form=True)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": int(rng.choice(categories)),
                "iscrowd": int(rng.random() < 0.15), "segmentation": segmentation, "bbox": bbox,
                "area": area if rng.random() < 0.7 else float(rng.integers(1, 12000)),
            })  # fmt: skip
            if annotations[-1]["iscrowd"] and isinstance(segmentation, list):
                annotations[-1]["iscrowd"] = 0  # crowds are never polygons
            if ignored and rng.random() < 0.1:
                annotations[-1]["ignore"] = 1
        sources = [(box, a["category_id"]) for box, a in zip(boxes, annotations[-len(boxes) :], strict=False)]
        sources = [s for s in sources for _ in range(rng.integers(0, 4))]
        sources += [(rectangle(rng), int(rng.choice(categories))) for _ in range(rng.integers(0, 4))]
        for (x, y, w, h), category in sources:
            dx, dy = rng.integers(-2, 3, 2)
            moved = (int(np.clip(x + dx, 0, WIDTH - w)), int(np.clip(y + dy, 0, HEIGHT - h)), w, h)
            segmentation, _, bbox = shape(rng, moved)
            category = category if rng.random() < 0.8 else int(rng.choice(categories))
            results.append({"image_id": image, "category_id": category, "score": float(rng.integers(1, 20) / 20),
                            "segmentation": segmentation, "bbox": bbox})  # fmt: skip
    content = {
        "images": [{"id": image, "height": HEIGHT, "width": WIDTH} for image in range(10, 10 + images)],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": annotations,
    }
    return content, results


def rectangle(rng):
    w, h = rng.integers(3, 40, 2).tolist()
    return int(rng.integers(0, WIDTH - w)), int(rng.integers(0, HEIGHT - h)), w, h


def shape(rng, box, *, every_form=False):
    """A mask in a box, its area and its bounding box."""
    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    form = rng.integers(3) if every_form else 0
    if form < 2 and rng.random() < 0.5:
        mask &= rng.random((HEIGHT, WIDTH)) < 0.8
    rle = coco_mask.encode(np.asfortranarray(mask))
    segmentation = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
    if form == 1:
        flat = mask.ravel(order="F")
        runs = np.diff([0, *(np.flatnonzero(np.diff(flat.astype(int))) + 1), flat.size]).tolist()
        segmentation["counts"] = [0, *runs] if flat[0] else runs
    elif form == 2:
        segmentation = [[float(v) for v in (x, y, x + w, y + 0.5, x + w * 0.7, y + h, x + 0.3, y + h * 0.6)]]
        rle = coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH)[0]
    return segmentation, float(coco_mask.area(rle)), [float(v) for v in coco_mask.toBbox(rle)]
