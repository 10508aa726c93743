"""Run a model that `idolctl export` wrote, with onnxruntime: from frames to the detections that go to the tracker."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idol_core.config import Precision, TrackerConfig
from idol_core.data.collate import STRIDE
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.metadata import Carried, read_metadata
from idol_core.structures import Detections
from idol_core.system.onnx_header import onnx_metadata
from idol_core.tracking.masks import Size

GRAPH = "graph"  # metadata key of `GraphFacts`, as JSON
_FIX = "write it with idolctl export"


class ExportedRows(NamedTuple):
    """Outputs of the graph for one frame: R rows, the first `count` of which are its detections, by falling score.

    The rows from `count` on hold queries that were not selected, by falling score. Tensors in torch, arrays elsewhere.
    """

    count: Any  # [] int64
    selected: Any  # [] int64: larger than `count` if there were more detections than rows
    scores: Any  # [R] best class probability
    labels: Any  # [R] int64
    probs: Any  # [R, K] all class probabilities
    boxes: Any  # [R, 4] cxcywh, normalized by the frame without padding
    embeddings: Any  # [R, C]
    mask_logits: Any  # [R, H/4, W/4] over the padded frame
    queries: Any  # [R] int64: index of the query that each row came from


class GraphFacts(NamedTuple):
    """What is fixed in an exported graph."""

    size: Size | None  # (height, width) of its input; None: any multiples of 32
    rows: int
    select_threshold: float
    box_nms: float
    opset: int


class ExportedModel:
    """An exported model, open in onnxruntime.

    Raises Missing if onnxruntime is not installed, InvalidInput if it can't use the device, Integrity if the file is
    not readable or not one of `idolctl export`.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        self.path = path
        self.facts, self.carried = read_facts(path)
        self.session = open_session(path, device=device)
        self._warned = False  # of frames that are padded more than torch pads them
        if [output.name for output in self.session.get_outputs()] != list(ExportedRows._fields):
            raise Integrity("the graph has other outputs than its metadata promises", where=str(path), fix=_FIX)

    def check_settings(self, tracker: TrackerConfig, precision: Precision) -> None:
        """Raise InvalidInput for settings other than those of the graph: its selection of queries and float32."""
        if precision != "float32":
            what = f"the exported graph computes in float32, not in {precision}"
            raise InvalidInput(what, where=str(self.path), fix="leave --precision out")
        for name in ("select_threshold", "box_nms"):
            has, asked = getattr(self.facts, name), getattr(tracker, name)
            if has != asked:
                what = f"tracker.{name} is {has:g} in the exported graph and can't become {asked:g}"
                raise InvalidInput(what, where=str(self.path), fix="evaluate the weights that it was exported from")

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Detections of each frame [3, h, w] uint8, one after another.

        Raises InvalidInput for a frame that is larger than the graph's input, and for more detections than it has rows.
        """
        return [self._detect(image) for image in images]

    def run(self, image: Tensor) -> ExportedRows:
        """All rows of one frame [3, h, w] uint8, as arrays."""
        height, width = image.shape[-2:]
        own = (-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)
        rows, columns = self.facts.size or own
        if height > rows or width > columns:
            what = f"a frame of {height}x{width} (in the network) does not fit the exported graph's {rows}x{columns}"
            raise InvalidInput(what, where=str(self.path), fix=f"export again with --size {own[0]}x{own[1]} or dynamic")
        if own != (rows, columns) and not self._warned:
            self._warned = True
            what = f"frames of {height}x{width} are padded to the exported graph's {rows}x{columns}"
            fix = f"for the very tracks of the weights export with --size {own[0]}x{own[1]}"
            print(f"warning: {what}, so tracks differ from those of the weights; {fix}", file=sys.stderr, flush=True)
        padded = F.pad(image, (0, columns - width, 0, rows - height)).permute(1, 2, 0)
        inputs = {"frame": np.ascontiguousarray(padded.numpy()), "size": np.array((height, width), np.int64)}
        return ExportedRows(*self.session.run(None, inputs))

    def _detect(self, image: Tensor) -> Detections:
        found = self.run(image)
        if found.selected > found.count:
            what = f"a frame has {int(found.selected)} detections, the exported graph {self.facts.rows} rows"
            raise InvalidInput(what, where=str(self.path), fix="export again with a larger --max-detections")
        fields = (found.scores, found.labels, found.probs, found.boxes, found.embeddings, found.mask_logits)
        return Detections(*(torch.from_numpy(field[: int(found.count)]) for field in fields))


def read_facts(path: Path) -> tuple[GraphFacts, Carried]:
    """Read and check an exported model's metadata. Raises Missing, Integrity."""
    if not path.is_file():
        raise Missing("there is no such exported model", where=str(path), fix="check the path")
    try:
        metadata = onnx_metadata(path)
    except (ValueError, OSError) as error:
        raise Integrity(f"the exported model can't be read: {error}", where=str(path), fix=_FIX) from error
    carried = read_metadata(metadata, where=str(path))
    if GRAPH not in metadata or carried.recipe is None:
        raise Integrity("this ONNX file was not written by idolctl export", where=str(path), fix=_FIX)
    try:
        facts = GraphFacts(**json.loads(metadata[GRAPH]))
        numbers = (facts.rows, facts.opset, *(facts.size or ()))
        if (facts.size is not None and len(facts.size) != 2) or not all(type(n) is int and n > 0 for n in numbers):
            raise ValueError("sizes are no whole numbers above 0")
        if not all(isinstance(n, int | float) for n in (facts.select_threshold, facts.box_nms)):
            raise ValueError("thresholds are no numbers")
        size = None if facts.size is None else (facts.size[0], facts.size[1])
    except (ValueError, TypeError, RecursionError) as error:
        what = f"the graph's description can't be understood: {error}"
        raise Integrity(what, where=f"{path}: metadata, {GRAPH}", fix=_FIX) from error
    return facts._replace(size=size), carried


def open_session(path: Path, *, device: str = "cpu") -> Any:
    """Open an ONNX file in onnxruntime, on "cpu" or "cuda", with as many threads as torch uses."""
    try:
        import onnxruntime
    except ImportError as error:
        fix = "pip install 'idolctl[export]'"
        raise Missing("onnxruntime is not installed", where=str(path), fix=fix) from error
    kind, _, number = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(number or 0)}))
    elif kind != "cpu":
        what = f"device '{device}' can't be used: this onnxruntime has no support for it"
        raise InvalidInput(what, where="--device", fix="--device cpu, or pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # tracking runs beside it
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own types, one for each status
        what = f"onnxruntime can't open it: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        raise Integrity(what, where=str(path), fix=_FIX) from error
