"""Random annotation files and results of videos: objects that wander, tracks that follow them well or badly."""

from __future__ import annotations

import numpy as np

from tests.unit.vis_sets import HEIGHT, WIDTH, box

CATEGORIES = (2, 5, 7)


def random_set(seed, *, videos=5, frames=7, categories=CATEGORIES):
    """Annotation file and results; some videos have no objects, some no results, some objects are crowds.

    Among the masks are empty ones, objects that are never there, and tracks that are in the file twice.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for video in range(1, videos + 1):
        objects = [wanderer(rng, frames) for _ in range(rng.integers(0, 5) if video > 1 else 0)]
        for boxes in objects:
            annotations.append(annotation(len(annotations) + 1, video, int(rng.choice(categories)), boxes))
            annotations[-1]["iscrowd"] = int(rng.random() < 0.2)
        sources = [*objects, *(wanderer(rng, frames) for _ in range(rng.integers(0, 4)))]
        for boxes in sources if video > 2 or rng.random() < 0.5 else ():
            for _ in range(rng.integers(0, 3)):
                masks = segmentations(follow(rng, boxes, sources))
                for category in rng.choice(categories, size=rng.integers(1, 3)):
                    results.append(entry(video, int(category), float(rng.integers(1, 100) / 100), masks))
    order = rng.permutation(len(results))
    return truth_file(annotations, videos, frames, categories), [results[i] for i in order]


def wanderer(rng, frames):
    """x, y, w, h in every frame; None where it is absent, a width of 0 where its mask is empty."""
    size, place = rng.integers(3, 12, 2), rng.integers(0, (WIDTH - 12, HEIGHT - 12))
    found = []
    for _ in range(frames):
        place = np.clip(place + rng.integers(-2, 3, 2), 0, (WIDTH - 12, HEIGHT - 12))
        luck = rng.random()
        found.append(None if luck < 0.15 else (*place, 0 if luck < 0.18 else size[0], size[1]))
    return found


def follow(rng, boxes, others):
    """A track of these boxes: shifted a little, some missing, going over to another's at some frame or not."""
    frames = len(boxes)
    if rng.random() < 0.3:
        cut = int(rng.integers(1, frames))
        boxes = [*boxes[:cut], *others[rng.integers(len(others))][cut:]]
    shift = rng.integers(-1, 2, 2) if rng.random() < 0.6 else (0, 0)
    moved = [b and (max(b[0] + shift[0], 0), max(b[1] + shift[1], 0), *b[2:]) for b in boxes]
    return [None if rng.random() < 0.1 else b for b in moved]


def segmentations(boxes):
    return [None if b is None else box(*(int(v) for v in b)) for b in boxes]


def annotation(number, video, category, boxes):
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": 0,
        "segmentations": segmentations(boxes),
    }


def entry(video, category, score, masks):
    return {"video_id": video, "category_id": category, "score": score, "segmentations": masks}


def truth_file(annotations, videos, frames, categories=CATEGORIES):
    return {
        "videos": [
            {"id": v, "height": HEIGHT, "width": WIDTH, "length": frames,
             "file_names": [f"{v}/{t}.jpg" for t in range(frames)]}
            for v in range(1, videos + 1)
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": annotations,
    }  # fmt: skip
