"""Normal, clip-oracle and frame-oracle results of a data set, from one pass of the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from idol_core.config import TrackerConfig
from idol_core.data.dataset import Dataset
from idol_core.engine.infer import Progress, read_frames
from idol_core.evaluation.oracle import clip_oracle, frame_oracle
from idol_core.pipeline import prefetched
from idol_core.streaming import VideoSegmenter
from idol_core.tracking.records import VideoRecord, track_record

Results = list[dict[str, Any]]


def infer_oracles(
    segmenter: VideoSegmenter, dataset: Dataset, *, clip_length: int, on_progress: Progress
) -> dict[str, Results]:
    """Entries of YouTube-VIS results files under "normal", "clip" and "frame". Raises as `infer_videos`."""

    def records() -> Iterator[tuple[int, VideoRecord]]:
        total = len(dataset.videos)
        for row in range(total):
            on_progress(row, total)
            video = dataset.videos[row]
            with prefetched(read_frames(video.file_names, (video.height, video.width))) as frames:
                yield row, segmenter.record(frames)
        on_progress(total, total)

    return oracle_results(records(), dataset, segmenter.tracker, clip_length=clip_length)


def oracle_results(
    records: Iterable[tuple[int, VideoRecord]], dataset: Dataset, config: TrackerConfig, *, clip_length: int
) -> dict[str, Results]:
    """As `infer_oracles`, from records of videos (rows of the data set)."""
    results: dict[str, Results] = {"normal": [], "clip": [], "frame": []}
    for row, record in records:
        truths = [[rle and rle["counts"] for rle in t.segmentations] for t in dataset.tracks(row) if not t.iscrowd]
        for name, tracks in (
            ("normal", track_record(record, config)),
            ("clip", clip_oracle(record, truths, config, clip_length=clip_length)),
            ("frame", frame_oracle(record, truths, config)),
        ):
            results[name] += tracks.results(dataset.videos[row].id, dataset.category_ids, config)
    return results
