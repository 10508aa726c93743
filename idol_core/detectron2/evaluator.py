"""Video AP as a detectron2 evaluator."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from idol_core.detectron2.catalog import open_registered
from idol_core.detectron2.convert import bit_masks_to_rles
from idol_core.detectron2.meta_arch import TrackMasks
from idol_core.evaluation.video_ap import evaluate_vis
from idol_core.system.files import write_json

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10")


class VideoEvaluator(DatasetEvaluator):
    """Collects tracks, writes `results.json` below `output_dir` and scores them where there is ground truth.

    Takes the output of `IDOL`, or of any model that returns {pred_scores, pred_labels, pred_masks} as lists with one
    entry per track, masks being [T, H, W].

    Args:
        name: of a data set registered by idol_core.detectron2.
        distributed: whether each process has a part of the results.
    """

    def __init__(self, name: str, *, output_dir: str | Path | None = None, distributed: bool = True) -> None:
        self._name, self._distributed = name, distributed
        self._output = Path(output_dir) if output_dir is not None else None
        self._dataset = open_registered(name)
        self._results: list[dict[str, Any]] = []

    def reset(self) -> None:
        """Discard the collected tracks."""
        self._results = []

    def process(self, inputs: list[dict[str, Any]], outputs: dict[str, Any]) -> None:
        """Collect one video's tracks."""
        (video,) = inputs
        for i, (score, label) in enumerate(zip(outputs["pred_scores"], outputs["pred_labels"], strict=True)):
            self._results.append(
                {
                    "video_id": video["video_id"],
                    "category_id": self._dataset.category_ids[label],
                    "score": float(score),
                    "segmentations": _rles(outputs["pred_masks"], i),
                }
            )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Score: {"segm": {AP, AP50, ...}} on 0..100; {} without ground truth; None in all processes but the first."""
        results = self._results
        if self._distributed:
            comm.synchronize()
            results = list(itertools.chain(*comm.gather(results, dst=0)))
            if not comm.is_main_process():
                return None
        if self._output is not None:
            write_json(self._output / "results.json", results, indent=None)
        if not self._dataset.has_ground_truth:
            return {}
        stats = evaluate_vis(self._dataset.index, results).stats
        return OrderedDict(segm={name: 100 * stats[name] if stats[name] >= 0 else float("nan") for name in METRICS})


def _rles(masks: Any, index: int) -> list[dict[str, Any] | None]:
    if isinstance(masks, TrackMasks):
        return masks.rles(index)
    frames = [None if mask is None else torch.as_tensor(mask) for mask in masks[index]]
    return [None if mask is None or not mask.any() else bit_masks_to_rles(mask[None])[0] for mask in frames]
