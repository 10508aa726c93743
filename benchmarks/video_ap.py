"""Video AP: ours against a plain implementation that merges masks frame by frame and pair by pair.

    python benchmarks/video_ap.py [--large]

First 50 synthetic videos of 30 frames of 360x640 with 10 tracks each: seconds of the track-IoU part, both ways, and the
largest difference. Then, with --large, the whole evaluation (from files) of a set of YouTube-VIS 2021 val's size, with
the peak of the resident memory above what it was before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from idol_core.data.annotations.rle import check_counts
from idol_core.evaluation.track_iou import frame_areas, track_iou
from idol_core.evaluation.video_ap import evaluate_vis

HEIGHT, WIDTH = 360, 640


def blobs(rng, count):
    """Bumpy closed shapes near the top left corner: (run lengths, width, height) of each."""
    found = []
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    for _ in range(count):
        bumps = sum(rng.normal(0, 0.12) * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5, 9))
        radius = rng.uniform(10, 60) * (1 + bumps)
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        x, y = x - x.min() + 1, (y - y.min() + 1).clip(max=HEIGHT - 40)
        rle = coco_mask.frPyObjects([np.stack([x, y], 1).ravel().tolist()], HEIGHT, WIDTH)[0]
        binary = coco_mask.decode(rle)
        rows, columns = np.flatnonzero(binary.any(1)), np.flatnonzero(binary.any(0))
        changes = np.flatnonzero(np.diff(binary.ravel(order="F").astype(np.int8), prepend=0))
        found.append((np.diff(changes, prepend=0, append=HEIGHT * WIDTH), columns[-1] + 1, rows[-1] + 1))
    return found


def track(rng, shapes, frames):
    """A shape that wanders; absent in a tenth of the frames. Compressed RLE per frame, or None."""
    counts, width, height = shapes[rng.integers(len(shapes))]
    room = np.array([WIDTH - width - 1, HEIGHT - height - 1])
    place = rng.uniform(0, room)
    masks = []
    for _ in range(frames):
        place = np.clip(place + rng.normal(0, (6, 4)), 0, room)
        moved = counts.copy()
        shift = int(place[0]) * HEIGHT + int(place[1])
        moved[0] += shift
        moved[-1] -= shift
        rle = coco_mask.frPyObjects({"size": [HEIGHT, WIDTH], "counts": moved.tolist()}, HEIGHT, WIDTH)
        masks.append(None if rng.random() < 0.1 else {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()})
    return masks


def jittered(rng, masks):
    """A detection of a track: every mask moved by a few pixels, some frames missed."""
    made = []
    for rle in masks:
        if rle is None or rng.random() < 0.05:
            made.append(None)
            continue
        binary = np.roll(coco_mask.decode(rle), tuple(rng.integers(-6, 7, 2)), (0, 1))
        moved = coco_mask.encode(np.asfortranarray(binary))
        made.append({"size": [HEIGHT, WIDTH], "counts": moved["counts"].decode()})
    return made


def area(rle):
    return 0 if rle is None else int(coco_mask.area(rle))


def plain_iou(detections, truths):
    """Frame by frame and pair by pair, as the protocol's definition reads."""
    ious = np.zeros((len(detections), len(truths)))
    for i, detection in enumerate(detections):
        for j, truth in enumerate(truths):
            inter = union = 0
            for a, b in zip(detection, truth, strict=True):
                if a is not None and b is not None:
                    inter += int(coco_mask.area(coco_mask.merge([a, b], intersect=True)))
                    union += int(coco_mask.area(coco_mask.merge([a, b], intersect=False)))
                else:
                    union += area(a) + area(b)
            ious[i, j] = inter / union if union else 0.0
    return ious


def read(video):
    """What reading a file does with every mask: its check (ours alone) and its area (for the size groups)."""
    for masks in (masks for side in video for masks in side):
        check_counts([m for m in masks if m is not None], HEIGHT * WIDTH)
    return [np.stack([frame_areas(masks, HEIGHT, WIDTH) for masks in side]) for side in video]


def compare_iou():
    rng = np.random.default_rng(0)
    shapes = blobs(rng, 100)
    videos = []
    for _ in range(50):
        truths = [track(rng, shapes, 30) for _ in range(10)]
        videos.append(([jittered(rng, t) for t in truths], truths))
    counts = [[[[m and m["counts"].encode() for m in masks] for masks in side] for side in video] for video in videos]
    plain, plain_seconds = timed(lambda: [plain_iou(*video) for video in videos])
    areas, read_seconds = timed(lambda: [read(video) for video in counts])
    size = {"height": HEIGHT, "width": WIDTH}
    ours, our_seconds = timed(lambda: [track_iou(*v, *a, **size) for v, a in zip(counts, areas, strict=True)])
    worst = max(np.abs(a - b).max() for a, b in zip(plain, ours, strict=True))
    print("track IoU, 50 videos x 30 frames x 360x640, 10 x 10 tracks (CPU seconds, best of 3)")
    print(f"  plain {plain_seconds:.2f} s, ours {our_seconds:.3f} s: {plain_seconds / our_seconds:.1f} times faster")
    print(f"  largest difference {worst:.1e}; checks and areas of all masks, at reading: {read_seconds:.3f} s")


def timed(work, times=3):
    """The result, and the least CPU seconds of a few runs: other processes on the machine hardly count."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        result = work()
        taken.append(time.process_time() - begin)
    return result, min(taken)


def large_set(folder, *, videos=421, frames=30, classes=40, truths=5, results=25):
    """Write gt.json and results.json of a set as large as YouTube-VIS 2021 val, with that many tracks a video."""
    rng = np.random.default_rng(1)
    shapes = blobs(rng, 100)
    annotations, found = [], []
    for video in range(1, videos + 1):
        for masks in [track(rng, shapes, frames) for _ in range(truths)]:
            common = {"video_id": video, "category_id": int(rng.integers(1, classes + 1))}
            truth = {"id": len(annotations) + 1, "iscrowd": 0, "segmentations": masks, "bboxes": [None] * frames}
            annotations.append({**common, **truth, "areas": [m and area(m) for m in masks]})
            found.append({**common, "score": float(rng.random()), "segmentations": jittered(rng, masks)})
        for _ in range(results - truths):
            common = {"video_id": video, "category_id": int(rng.integers(1, classes + 1))}
            score = float(rng.random() * 0.3)
            found.append({**common, "score": score, "segmentations": track(rng, shapes, frames)})
    names = {v: [f"{v}/{i:05}.jpg" for i in range(frames)] for v in range(1, videos + 1)}
    content = {
        "videos": [{"id": v, "height": HEIGHT, "width": WIDTH, "file_names": files} for v, files in names.items()],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, classes + 1)],
        "annotations": annotations,
    }
    (folder / "gt.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(found))


def peak_memory():
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def score_files(folder):
    """Score, in a process of its own so that the peak is this work's alone."""
    before = peak_memory()
    begin, busy = time.perf_counter(), time.process_time()
    scores = evaluate_vis(folder / "gt.json", folder / "results.json")
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    peak = peak_memory()
    print(f"  {seconds:.1f} s ({busy:.1f} s of CPU), peak {peak:.0f} MiB, {peak - before:.0f} MiB above the start")
    print(f"  AP {100 * scores.stats['AP']:.2f}, AP50 {100 * scores.stats['AP50']:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also the set of 421 videos")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        return score_files(arguments.score)
    compare_iou()
    if arguments.large:
        with tempfile.TemporaryDirectory() as made:
            large_set(Path(made))
            size = sum(p.stat().st_size for p in Path(made).iterdir()) / 2**20
            print(f"whole evaluation: 421 videos of 30 frames, 40 classes, 25 results a video ({size:.0f} MiB of JSON)")
            sys.stdout.flush()
            subprocess.run([sys.executable, __file__, "--score", made], check=True)
    return None


if __name__ == "__main__":
    main()
