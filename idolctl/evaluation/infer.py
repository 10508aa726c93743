"""Run weights on a data set, or reuse detections saved on disk by an earlier evaluation. Imports torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from idol_core.classes import match_classes, numbered, parse_same
from idol_core.config import Precision, StageConfig
from idol_core.data.dataset import Dataset
from idol_core.errors import Integrity, InvalidInput
from idol_core.metadata import EXPORTED
from idol_core.system.cpu import configure_threads
from idol_core.system.files import write_json
from idolctl.evaluation.targets import Target
from idolctl.runs.fingerprint import FileHashes
from idolctl.terminal.progress import ProgressLine, say

Results = list[dict[str, Any]]


def in_order_of(target: Target, dataset: Dataset, pairs: Sequence[str]) -> Dataset:
    """The data set with its classes reordered to match the weights, by name.

    `pairs` (`person=human`) name classes that are the same, in addition to `classes_map` in the settings that the
    weights were trained with. Weights without class names are assumed to use the data set's order, with a warning.
    Raises InvalidInput if the classes differ, Integrity if the weights name another number of classes than they have.
    """
    known, where = target.config.model.num_classes, str(dataset.source)
    same = parse_same(target.config.data.classes_map) | parse_same(pairs)
    sides = (f"the weights of {target.name}", "the data set")
    if target.classes is None and not pairs:
        if known != len(dataset.category_ids):
            what = f"{sides[0]} have {known} classes, the data set has {len(dataset.category_ids)}"
            raise InvalidInput(what, where=where, fix="--data SET with the classes that they were trained on")
        say(f"warning: {target.weights} does not name its classes; they are taken to be in the order of the data set")
        return dataset
    if target.classes is not None and len(target.classes) != known:
        what = f"the file names {len(target.classes)} classes, but its tensors or its recipe have {known}"
        raise Integrity(what, where=str(target.weights), fix="fetch or train the weights again")
    return dataset.reordered(
        match_classes(target.classes or numbered(known), dataset.category_names, where=where, sides=sides, same=same)
    )


def track(
    target: Target, dataset: Dataset, configs: Sequence[StageConfig], device: str | None, precision: Precision
) -> list[Results]:
    """Whole-video results for each configuration; those that differ in tracking alone share one run of the network."""
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
    """Results of normal tracking and of the clip and frame oracles, under "normal", "clip" and "frame"."""
    configure_threads()
    from idol_core.inference.oracle import oracle_results

    records = _records(target, dataset, config, device, precision)
    return oracle_results(records, dataset, config.tracker, clip_length=clip_length)


def images(target: Target, dataset: Dataset, config: StageConfig, device: str | None, precision: Precision) -> Results:
    """Predict the instances of every image (of a video set: of every frame)."""
    configure_threads()
    from idol_core.data.images import as_images
    from idol_core.inference.datasets import infer_images
    from idol_core.ops.devices import usable_device

    if target.weights.suffix in EXPORTED:
        what = "an exported model tracks videos; it can't be scored on images"
        raise InvalidInput(what, where=str(target.weights), fix="--data SET of videos, or the weights it came from")
    return infer_images(
        _model(target, config, device), as_images(dataset), input=config.input, device=usable_device(device),
        precision=precision, on_progress=ProgressLine("images").update,
    )  # fmt: skip


def _records(
    target: Target, dataset: Dataset, config: StageConfig, device: str | None, precision: Precision
) -> Iterator[tuple[int, Any]]:
    from idol_core.inference.kept_detections import video_records
    from idol_core.inference.streaming import VideoSegmenter
    from idol_core.ops.devices import usable_device

    folder = target.folder / "detections" / _key(target, dataset, config, precision)

    def make() -> VideoSegmenter:
        with contextlib.suppress(OSError):  # a full disk is reported when the detections are written
            write_json(folder / "about.json", _made_from(target, dataset, config, precision))
        return VideoSegmenter(
            _model(target, config, device), tracker=config.tracker, input=config.input,
            classes=dataset.category_names, device=usable_device(device), precision=precision, copy=False,
        )  # fmt: skip

    return video_records(make, dataset, folder, on_progress=ProgressLine("videos").update, say=say)


def _model(target: Target, config: StageConfig, device: str | None) -> Any:
    """The network of the target's weights, or the exported model, which is on its device (default: the CPU)."""
    if target.weights.suffix in EXPORTED:
        from idol_core.inference.exported import open_exported

        return open_exported(target.weights, device=device or "cpu")
    from idol_core.build import build_from
    from idol_core.weights import load_weights

    try:
        state = load_weights(target.weights, config.model)  # checks sizes before the model is allocated
    except InvalidInput as error:  # the sizes come from the file or its run, not from user input
        raise Integrity(error.what, where=error.where, fix="fetch or train the weights again") from error
    return build_from(config.model, state)


def _made_from(target: Target, dataset: Dataset, config: StageConfig, precision: Precision) -> dict[str, Any]:
    """Everything that detections depend on (all inputs before tracking); hashed, it is the key of saved detections."""
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
    """The folder that an evaluation writes its files to."""
    return target.folder / "eval" / (data.replace("/", "_") or "data")
