"""Results of weights on a data set: from kept detections where there are any, else from the network. Brings torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from idol_core.config import Precision, StageConfig
from idol_core.data.dataset import Dataset
from idol_core.errors import InvalidInput
from idol_core.system.cpu import configure_threads
from idol_core.system.files import write_json
from idolctl.evaluation.targets import Target
from idolctl.runs.fingerprint import FileHashes
from idolctl.terminal.progress import counter, say

Results = list[dict[str, Any]]


def check_classes(target: Target, dataset: Dataset) -> None:
    """Raise InvalidInput where the weights know another number of classes than the data set has."""
    knows, has = target.config.model.num_classes, len(dataset.category_ids)
    if knows != has:
        what = f"the weights of {target.name} know {knows} classes, the data set has {has}"
        fix = "--data SET with the classes that they were trained on"
        raise InvalidInput(what, where=str(dataset.source), fix=fix)


def track(
    target: Target, dataset: Dataset, configs: Sequence[StageConfig], device: str | None, precision: Precision
) -> list[Results]:
    """Whole-video results under each of the configurations; the network runs once for all that see the same."""
    configure_threads()
    from idol_core.tracking.records import track_record

    results: list[Results] = [[] for _ in configs]
    groups: dict[str, list[int]] = {}
    for place, config in enumerate(configs):
        groups.setdefault(_key(target, dataset, config, precision), []).append(place)
    for places in groups.values():
        for row, record in _records(target, dataset, configs[places[0]], device, precision):
            for place in places:
                tracks = track_record(record, configs[place].tracker)
                number = dataset.videos[row].id
                results[place] += tracks.results(number, dataset.category_ids, configs[place].tracker)
    return results


def oracles(
    target: Target,
    dataset: Dataset,
    config: StageConfig,
    device: str | None,
    precision: Precision,
    *,
    clip_length: int,
) -> dict[str, Results]:
    """Results under "normal", "clip" and "frame"."""
    configure_threads()
    from idol_core.inference.oracle import oracle_results

    records = _records(target, dataset, config, device, precision)
    return oracle_results(records, dataset, config.tracker, clip_length=clip_length)


def images(target: Target, dataset: Dataset, config: StageConfig, device: str | None, precision: Precision) -> Results:
    """Instances of every image (of a video set: of every frame)."""
    configure_threads()
    from idol_core.data.images import as_images
    from idol_core.inference.datasets import infer_images

    return infer_images(
        _model(target, config), as_images(dataset), input=config.input, device=device or _device(),
        precision=precision, on_progress=counter("images"),
    )  # fmt: skip


def _records(
    target: Target, dataset: Dataset, config: StageConfig, device: str | None, precision: Precision
) -> Iterator[tuple[int, Any]]:
    from idol_core.inference.kept_detections import video_records
    from idol_core.inference.streaming import VideoSegmenter

    folder = target.folder / "detections" / _key(target, dataset, config, precision)

    def make() -> VideoSegmenter:
        with contextlib.suppress(OSError):  # a full disk is told where the detections themselves are written
            write_json(folder / "about.json", _made_from(target, dataset, config, precision))
        return VideoSegmenter(
            _model(target, config), tracker=config.tracker, input=config.input, classes=dataset.category_names,
            device=device or _device(), precision=precision,
        )  # fmt: skip

    return video_records(make, dataset, folder, on_progress=counter("videos"), say=say)


def _model(target: Target, config: StageConfig) -> Any:
    from idol_core.build import build_model
    from idol_core.weights import load_weights

    model = build_model(config.model)
    model.load_state_dict(load_weights(target.weights, config.model))
    return model


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _made_from(target: Target, dataset: Dataset, config: StageConfig, precision: Precision) -> dict[str, Any]:
    """What detections depend on: all that comes before tracking."""
    hashes = FileHashes()
    return {
        "weights": hashes.of(target.weights),
        "annotations": hashes.of(dataset.source),
        "frames": str(dataset.frames),
        "input": asdict(config.input),
        "select_threshold": config.tracker.select_threshold,
        "box_nms": config.tracker.box_nms,
        "precision": precision,
    }


def _key(target: Target, dataset: Dataset, config: StageConfig, precision: Precision) -> str:
    text = json.dumps(_made_from(target, dataset, config, precision), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def results_folder(target: Target, data: str) -> Path:
    """Where the files of an evaluation go."""
    return target.folder / "eval" / (data.replace("/", "_") or "data")
