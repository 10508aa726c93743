"""Score a stage on its validation set: mask AP on images after steps 1 and 2, video AP after step 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from idol_core.config import StageConfig
from idol_core.data.dataset import Dataset
from idol_core.data.images import as_images
from idol_core.data.set_digest import record_set
from idol_core.drawing.tracks import write_contact_sheet
from idol_core.engine.distributed import Group
from idol_core.engine.gather import Parts
from idol_core.engine.journal import Journal
from idol_core.errors import Preempted
from idol_core.evaluation import METRICS
from idol_core.evaluation.coco_ap import evaluate_coco
from idol_core.evaluation.video_ap import evaluate_vis
from idol_core.inference.datasets import infer_images, infer_videos
from idol_core.inference.streaming import VideoSegmenter
from idol_core.model.idol import IDOL
from idol_core.system.files import write_json

PICTURED, PICTURED_SCORE = 6, 0.3  # videos or images in predictions.png, and the least score that is drawn


def evaluate_stage(
    config: StageConfig,
    model: IDOL,
    dataset: Dataset,
    folder: Path,
    *,
    group: Group,
    journal: Journal,
    should_stop: Callable[[], bool],
    pictures: bool = False,
) -> dict[str, float] | None:
    """Run and score the model; write `results.json` and, with ground truth, `evaluation.json` into `folder`.

    `dataset` is the stage's `validation_set` (data/stage_sets.py). With `pictures`, `predictions.png` shows the
    predictions on the first videos or images.

    The videos are divided among the processes of the group. Rank 0 merges the results and returns METRICS on 0..100
    (None without ground truth); the others return None as soon as their part is on disk.

    Raises Preempted when `should_stop` says so.
    """
    seen = dataset if config.step == 3 else as_images(dataset)

    def on_progress(done: int, total: int) -> None:
        journal.line(event="evaluate", done=done, total=total)
        if should_stop():
            raise Preempted(f"stopped while evaluating {done} of {total}", where=str(folder))

    parts = Parts(folder / "parts", group)
    parts.clear()
    rows = range(len(seen.videos))[group.rank :: group.world]
    device = group.device
    if config.step == 3:
        segmenter = VideoSegmenter(
            model,
            tracker=config.tracker,
            input=config.input,
            classes=dataset.category_names,
            device=device,
            precision=config.solver.evaluation_precision,
        )
        results = infer_videos(segmenter, seen, videos=rows, on_progress=on_progress)
    else:
        results = infer_images(
            model,
            seen,
            input=config.input,
            device=device,
            precision=config.solver.evaluation_precision,
            images=rows,
            on_progress=on_progress,
        )
    everything = parts.exchange(results, should_stop=should_stop)
    if everything is None:
        return None
    results = in_order(everything, seen)
    write_json(folder / "results.json", results, indent=None)
    record_set(folder, dataset.index)
    if pictures:
        first = range(min(PICTURED, len(seen.videos)))
        write_contact_sheet(
            folder / "predictions.png", seen, [_as_track(r) for r in results], videos=first, threshold=PICTURED_SCORE
        )
    if not dataset.has_ground_truth:
        return None
    scores = score(dataset, results, video=config.step == 3)
    write_json(folder / "evaluation.json", scores)
    return {name: round(100 * scores["stats"][name], 3) for name in METRICS}


def _as_track(result: dict[str, Any]) -> dict[str, Any]:
    """Turn an image's instance into a track of one frame; a track is returned as it is."""
    if "video_id" in result:
        return result
    return {**result, "video_id": result["image_id"], "segmentations": [result["segmentation"]]}


def in_order(results: list[dict[str, Any]], dataset: Dataset) -> list[dict[str, Any]]:
    """Sort results by the order of the data set's videos (or images), whichever process made them."""
    name = "video_id" if results and "video_id" in results[0] else "image_id"
    place = {video.id: row for row, video in enumerate(dataset.videos)}
    return sorted(results, key=lambda result: place[result[name]])


def score(dataset: Dataset, results: list[dict[str, Any]], *, video: bool) -> dict[str, Any]:
    """Compute `stats` and `per_category` on 0..1, as in the official evaluations (-1: not defined)."""
    found: Any = evaluate_vis(dataset.index, results) if video else evaluate_coco(as_images(dataset).index, results)
    return {"stats": found.stats, "per_category": found.per_category}
