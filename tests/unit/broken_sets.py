"""Perfect results of random videos, and functions that put errors of one kind into them."""

from __future__ import annotations

import numpy as np

from tests.unit.random_sets import CATEGORIES, annotation, entry, segmentations, truth_file
from tests.unit.vis_sets import HEIGHT, WIDTH

FRAMES = 9
CELL = 8  # objects stay in cells of their own, so that masks of different ones don't meet


class Perfect:
    """Objects of several videos as boxes per frame, and results that agree with them."""

    def __init__(self, seed, videos=4):
        self.rng = np.random.default_rng(seed)
        self.videos = videos
        self.annotations, self.tracks, self.empty = [], [], {}
        cells = [(x, y) for x in range(0, WIDTH, CELL) for y in range(0, HEIGHT, CELL)]
        for video in range(1, videos + 1):
            places = self.rng.permutation(len(cells))
            objects = int(self.rng.integers(2, 6))
            self.empty[video] = [cells[i] for i in places[objects:]]
            for place in places[:objects]:
                boxes = self.inside(cells[place])
                category = int(self.rng.choice(CATEGORIES))
                self.annotations.append(annotation(len(self.annotations) + 1, video, category, boxes))
                self.tracks.append([video, category, self.score(), boxes])
        self.whole = list(self.tracks)  # those without an error so far

    def score(self):
        return float(self.rng.integers(300, 1000) / 1000)

    def inside(self, cell):
        """Boxes in one cell, in 6 frames or more without a gap."""
        size = self.rng.integers(4, 8, 2)
        first, last = self.rng.integers(0, 2), FRAMES - self.rng.integers(0, 2)
        return [
            (*(cell + self.rng.integers(0, CELL + 1 - size)), *size) if first <= t < last else None
            for t in range(FRAMES)
        ]

    def chosen(self):
        """A track without an error so far."""
        return self.whole.pop(self.rng.integers(len(self.whole)))

    def two(self):
        """Two tracks of one video, without an error so far."""
        while True:
            i, j = self.rng.choice(len(self.whole), 2, replace=False)
            if self.whole[i][0] == self.whole[j][0]:
                pair = self.whole[i], self.whole[j]
                self.whole = [track for track in self.whole if not any(track is one for one in pair)]
                return pair

    def files(self):
        results = [entry(video, category, score, masks(boxes)) for video, category, score, boxes in self.tracks]
        return truth_file(self.annotations, self.videos, FRAMES), [
            results[i] for i in self.rng.permutation(len(results))
        ]


def masks(boxes):
    """Segmentations of boxes; a frame may have several, in one mask."""
    found = []
    for some in boxes:
        if isinstance(some, list):
            pixels = np.zeros((HEIGHT, WIDTH), bool)
            for x, y, w, h in some:
                pixels[y : y + h, x : x + w] = True
            runs = np.diff([0, *(np.flatnonzero(np.diff(pixels.ravel(order="F").astype(int))) + 1), pixels.size])
            runs = runs.tolist()
            found.append({"size": [HEIGHT, WIDTH], "counts": [0, *runs] if pixels[0, 0] else runs})
        else:
            found += segmentations([some])
    return found


def wrong_class(data):
    track = data.chosen()
    track[1] = int(data.rng.choice([c for c in CATEGORIES if c != track[1]]))


def poor_mask(data):
    """Too narrow a mask, or too short a track."""
    track = data.chosen()
    if data.rng.random() < 0.5:
        track[3] = [b and (*b[:2], max(1, (b[2] - 1) // 3 + (b[2] == 7)), b[3]) for b in track[3]]
    else:
        shown = [t for t in range(FRAMES) if track[3][t]]
        track[3] = [b if t in shown[:2] else None for t, b in enumerate(track[3])]


def switch(data):
    a, b = data.two()
    cut = int(data.rng.integers(2, FRAMES - 1))
    a[3], b[3] = a[3][:cut] + b[3][cut:], b[3][:cut] + a[3][cut:]


def fragment(data):
    track = data.chosen()
    shown = [t for t in range(FRAMES) if track[3][t]]
    cuts = sorted(data.rng.choice(shown[1:], int(data.rng.integers(1, 4)), replace=False).tolist())
    data.tracks.remove(track)
    for begin, end in zip([0, *cuts], [*cuts, FRAMES], strict=True):
        piece = [b if begin <= t < end else None for t, b in enumerate(track[3])]
        data.tracks.append([track[0], track[1], data.score(), piece])


def merge(data):
    a, b = data.two()
    a[3] = [[m for m in (x, y) if m] or None for x, y in zip(a[3], b[3], strict=True)]
    data.tracks.remove(b)


def duplicate(data):
    track = data.chosen()
    data.tracks.append([*track[:2], track[2] * float(data.rng.uniform(0.5, 0.99)), track[3]])


def background(data):
    video = int(data.rng.integers(1, data.videos + 1))
    cell = data.empty[video][data.rng.integers(len(data.empty[video]))]
    data.tracks.append([video, int(data.rng.choice(CATEGORIES)), data.score(), data.inside(cell)])


def missed(data):
    track = data.chosen()
    data.tracks = [one for one in data.tracks if one is not track]


BREAKERS = {
    "class": wrong_class,
    "mask": poor_mask,
    "switch": switch,
    "fragment": fragment,
    "merge": merge,
    "duplicate": duplicate,
    "background": background,
    "missed": missed,
}
