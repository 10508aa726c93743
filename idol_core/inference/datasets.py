"""Run a model over a whole data set: tracks of its videos, instances of its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from idol_core.config import InputConfig, Precision
from idol_core.data.collate import collate_frames
from idol_core.data.dataset import Dataset
from idol_core.data.frames import FrameReader
from idol_core.data.transforms import resize_for_test
from idol_core.inference.images import StillInstances, still_instances
from idol_core.inference.prepare import evaluation_copy
from idol_core.inference.streaming import VideoSegmenter
from idol_core.model.idol import IDOL
from idol_core.ops.precision import arithmetic
from idol_core.system.background import prefetched
from idol_core.tracking.masks import Size

Progress = Callable[[int, int], None]  # (done, total); may raise to stop


def infer_videos(
    segmenter: VideoSegmenter,
    dataset: Dataset,
    *,
    on_progress: Progress,
    videos: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Track every video of a data set, or those in the rows `videos`.

    Returns:
        Entries of a YouTube-VIS results file: {video_id, category_id (the data set's own), score, segmentations:
        a compressed RLE with counts as text, or None, for each frame}.

    Raises:
        Missing, Integrity: a frame is missing, can't be decoded or has another size than its annotation says.
    """
    results: list[dict[str, Any]] = []
    rows = range(len(dataset.videos)) if videos is None else videos
    for done, row in enumerate(rows):
        on_progress(done, len(rows))
        video = dataset.videos[row]
        with prefetched(read_frames(video.file_names, (video.height, video.width))) as frames:
            tracks = segmenter.segment(frames)
        results += tracks.results(video.id, dataset.category_ids, segmenter.tracker)
    on_progress(len(rows), len(rows))
    return results


def infer_images(
    model: IDOL,
    dataset: Dataset,
    *,
    input: InputConfig,
    on_progress: Progress,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    images: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Segment every image of a data set (videos of one frame), or those in the rows `images`.

    Returns:
        Entries of a COCO results file: {image_id, category_id, score, bbox (x, y, width, height), segmentation}.
    """
    device = torch.device(device)
    model = evaluation_copy(model, device, precision)
    rows = range(len(dataset.videos)) if images is None else images
    results: list[dict[str, Any]] = []
    sizes = [(dataset.videos[row].height, dataset.videos[row].width) for row in rows]
    paths = [dataset.videos[row].file_names[0] for row in rows]
    with prefetched(_read_each(paths, sizes)) as frames:
        for done, (row, frame) in enumerate(zip(rows, frames, strict=True)):
            on_progress(done, len(rows))
            batch = collate_frames([resize_for_test(frame, input)], config=input).to(device)
            with torch.inference_mode(), arithmetic(device, precision):
                found = still_instances(model, model(batch), [sizes[done]])[0]
            results += _coco_entries(found, dataset.videos[row].id, dataset.category_ids, sizes[done])
    on_progress(len(rows), len(rows))
    return results


def read_frames(paths: Sequence[str], size: Size) -> Iterator[Any]:
    """Read image files as frames [H, W, 3] uint8 RGB; all must have this (height, width)."""
    return _read_each(paths, [size] * len(paths))


def _read_each(paths: Sequence[str], sizes: Sequence[Size]) -> Iterator[Any]:
    read = FrameReader(keep=False)
    for path, (height, width) in zip(paths, sizes, strict=True):
        yield read(path, height, width)


def _coco_entries(
    found: StillInstances, image_id: int, category_ids: Sequence[int], size: Size
) -> Iterator[dict[str, Any]]:
    boxes = torch.cat((found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]), dim=1)
    rows = zip(found.scores.tolist(), found.classes.tolist(), boxes.tolist(), found.counts, strict=True)
    for score, label, box, counts in rows:
        yield {
            "image_id": image_id,
            "category_id": category_ids[label],
            "score": score,
            "bbox": box,
            "segmentation": {"size": list(size), "counts": counts.decode("ascii")},
        }
